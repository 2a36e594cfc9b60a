"""The tokenizer: learned from the training split, or given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trainingjob.api.v1alpha1.tokenize import LEAST_VOCABULARY, Tokenize

from ...base import bounded, templates, tokenizing
from ...base.digest import digest_of_text
from ...base.errors import StageFailure, storage_errors
from ...base.text import listed, one_line
from ...dataset.manifest import TEMPLATE, TOKENIZER
from ...dataset.tokens import TOKENIZER_CONFIG, tokenizer_file
from ..engines.frame import HASH, SPLIT, TRAIN, Engine
from ..names import quoted
from . import chat

END = "<|endoftext|>"
# What the ends of texts are called in tokenizers that people have.
_ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>", "[EOS]")
# Texts that a vocabulary is learned from; of a text, characters.
SAMPLE_BYTES = 64 * 2**20
_SAMPLE_CHARS = 65_536
# The largest that people have are of 35 MB, and a template of 20 kB.
_LARGEST_FILE = 128 * 2**20
_LARGEST_TEMPLATE = 2**20


@dataclass(frozen=True)
class Chosen:
    """A tokenizer: its JSON, and its token between texts."""

    text: str
    end_of_text: str
    end: int
    size: int
    # Of conversations: how they become texts, and whether the template is the tokenizer's own.
    way: chat.Way | None = None
    own_template: bool = False
    # Its special tokens, and the field that names it, unless it was learned.
    special: Sequence[str] = ()
    given: str | None = None

    @property
    def digest(self) -> str:
        """sha256 of ``tokenizer.json``."""
        return digest_of_text(self.text)

    @property
    def files(self) -> dict[str, str]:
        """What the dataset has of it, by name."""
        return {TOKENIZER: self.text} | ({TEMPLATE: self.way.template} if self.way else {})

    def for_chat(self, files: Mapping[str, Path]) -> Chosen:
        """With the template and the special tokens that ``files`` say, by the names that Hugging
        Face gives them. Raises StageFailure(InputMalformed)."""
        config: Any = {}
        with storage_errors("read the tokenizer"):
            if TOKENIZER_CONFIG in files:
                try:
                    config = json.loads(_bounded(files[TOKENIZER_CONFIG], _LARGEST_FILE))
                except (ValueError, RecursionError):
                    config = None
                if not isinstance(config, dict):
                    message = f"{files[TOKENIZER_CONFIG]} is no {TOKENIZER_CONFIG}"
                    raise StageFailure("InputMalformed", message)
            template, special = templates.of_config(config)
            if template is None and config.get("chat_template") and TEMPLATE not in files:
                message = (
                    f"chat_template of {files[TOKENIZER_CONFIG]} is no text, nor a list that has "
                    "one of the name default"
                )
                raise StageFailure("InputMalformed", message)
            if TEMPLATE in files:
                try:
                    template = _bounded(files[TEMPLATE], _LARGEST_TEMPLATE).decode()
                except UnicodeDecodeError as error:
                    message = f"{files[TEMPLATE]} is not UTF-8"
                    raise StageFailure("InputMalformed", message) from error
        if template is not None and len(template) > _LARGEST_TEMPLATE:
            message = f"{files[TOKENIZER_CONFIG]} has a chat template that is larger than any"
            raise StageFailure("InputMalformed", message)
        way = chat.Way(
            template or chat.DEFAULT, {"eos_token": self.end_of_text, **special}, self.special
        )
        return replace(self, way=way, own_template=bool(template))


def choose(engine: Engine, view: str, text: str, spec: Tokenize, rows: int, size: int) -> Chosen:
    """Learned from the training rows of the view, of which there are so many, of ``size`` bytes;
    or given. Raises StageFailure(SettingUnsuitable, InputNotFound, InputMalformed)."""
    if spec.from_ is not None:
        return _given(spec.from_, spec.end_of_text)
    most = rows if size <= SAMPLE_BYTES else max(1, rows * SAMPLE_BYTES // size)
    found = engine.arrow(
        f"SELECT substring({text}, 1, {_SAMPLE_CHARS}) AS text FROM {view} "
        f"WHERE {SPLIT} = {TRAIN} ORDER BY {HASH} LIMIT {most}"
    )
    texts = (one for batch in found.to_batches(1024) for one in batch.column(0).to_pylist())
    return learn(texts, spec.vocab_size or LEAST_VOCABULARY, spec.end_of_text or END)


def learn(texts: Iterable[str], size: int, end: str) -> Chosen:
    """A byte-level BPE, as GPT-2 has it (Radford et al., 2019), of ``size`` tokens.

    Raises StageFailure(SettingUnsuitable) where the texts have not so many."""
    tool = Tokenizer(models.BPE())
    tool.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tool.decoder = decoders.ByteLevel()
    tool.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[end],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    found = tool.get_vocab_size()
    if found < size:
        raise StageFailure(
            "SettingUnsuitable",
            f"preprocess.tokenize.vocabSize is {size}, and the texts of the training split have "
            f"{found} tokens that are worth one: set at most {found}, or bring more text",
        )
    number = tool.token_to_id(end)
    assert number is not None
    return Chosen(tool.to_str(), end, number, found, special=[end])


def _bounded(path: Path, most: int) -> bytes:
    """What is in a file. Raises OSError, StageFailure(InputMalformed) for one that is too large."""
    if (size := path.stat().st_size) > most:
        raise StageFailure(
            "InputMalformed", f"{path} has {size} bytes, more than any {path.name}: {most} at most"
        )
    return path.read_bytes()


def _given(uri: str, end: str | None) -> Chosen:
    path = tokenizer_file(uri)
    field = f"preprocess.tokenize.from: {path}"
    with storage_errors("read the tokenizer"):
        if not path.is_file():
            raise StageFailure("InputNotFound", f"{field} is no file")
        text = _bounded(path, _LARGEST_FILE)
    try:
        its = text.decode()
        # Through JSON: what reads it panics at some of what is none.
        json.loads(its)
        with closing(tokenizing.Bounded(its)) as tool:
            added, size = tool.known()
            name = end or next((one for one in _ENDS if one in added), None)
            number = None if name is None else tool.number(name)
    except (bounded.TooMuch, bounded.Refused, ValueError, RecursionError) as error:
        raise StageFailure(
            "InputMalformed",
            f"{field} is no tokenizer.json of Hugging Face's tokenizers: {one_line(error)}",
        ) from error
    if name is None or number is None:
        what = "the end of a text" if name is None else quoted(name)
        raise StageFailure(
            "SettingUnsuitable",
            f"{field} has no token for {what}: set preprocess.tokenize.endOfText to one of its "
            f"own ({listed(added) or 'it has no special ones'})",
        )
    ends = [one for one, (_, special) in added.items() if special]
    return Chosen(its, name, number, size, special=ends, given=field)
