"""The last step of a language model's preprocessing: from texts to tokens."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import InputUri
from .patterns import NO_NUL

# Bytes, and the end of a text.
LEAST_VOCABULARY = 257


class NearDuplicates(Model):
    """Leave out texts that are nearly the same as another one."""

    similarity: Annotated[float, Field(ge=0.5, le=0.99)] | None = Field(
        None,
        description="Least share of common runs of words; 0.8 when unset.",
    )
    words: Annotated[int, Field(ge=1, le=32)] | None = Field(
        None, description="Words of a run; 5 when unset."
    )


class Tokenize(Model):
    """Texts to rows of tokens of one length, after the steps."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.vocabSize) || !has(self.from)",
            message="vocabSize and from must not both be set",
            holds=lambda self: self.vocab_size is None or self.from_ is None,
        ),
        Rule(
            cel="!has(self.from) || !self.from.split('/').exists(part, part == '..')",
            message="from must not contain '..'",
            holds=lambda self: ".." not in (self.from_ or "").split("/"),
        ),
    )

    vocab_size: Annotated[int, Field(ge=LEAST_VOCABULARY, le=1000000)] | None = Field(
        None,
        description="Learn a byte-level BPE of so many tokens from the training split (of at most "
        "64 MiB of it).",
    )
    from_: InputUri | None = Field(
        None,
        description="Take this `tokenizer.json` instead, as Hugging Face's `tokenizers` has, or "
        "that of this folder; unset: that of `train.model.pretrained`.",
    )
    sequence_length: Annotated[int, Field(ge=2, le=1048576)] = Field(
        description="Tokens that a model sees at once. Texts follow each other without gaps, an "
        "end-of-text token between them; a row has one token more, the last one to predict."
    )
    end_of_text: (
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NO_NUL)] | None
    ) = Field(
        None,
        description="The token between texts: `<|endoftext|>` when unset; with `from`, one of its "
        "own, found by its usual names when unset.",
    )
    near_duplicates: NearDuplicates | None = Field(
        None,
        description="Leave out texts that nearly repeat another one, by MinHash.",
    )
