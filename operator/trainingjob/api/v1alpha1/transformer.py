"""The built-in language model: a decoder as Hugging Face's transformers has it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule


class Transformer(Model):
    """A decoder-only transformer, built by Hugging Face's transformers."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.hidden % self.heads == 0 && (self.hidden / self.heads) % 2 == 0",
            message="hidden must be heads times an even number, the width of a head",
            holds=lambda self: self.hidden % (2 * self.heads) == 0,
        ),
        Rule(
            cel="!has(self.keyValueHeads) || self.heads % self.keyValueHeads == 0",
            message="heads must be a multiple of keyValueHeads",
            holds=lambda self: (
                self.key_value_heads is None or self.heads % self.key_value_heads == 0
            ),
        ),
    )

    architecture: Literal["llama", "qwen3"] = Field(description="Of which family it is.")
    layers: Annotated[int, Field(ge=1, le=1024)] = Field(description="Number of layers.")
    hidden: Annotated[int, Field(ge=8, le=65536)] = Field(description="Width of a layer.")
    heads: Annotated[int, Field(ge=1, le=1024)] = Field(description="Heads of attention.")
    key_value_heads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Heads of keys and values, which heads share; `heads` when unset."
    )
    feed_forward: Annotated[int, Field(ge=8, le=1048576)] | None = Field(
        None,
        description="Width inside the feed-forward part; 8/3 of `hidden`, up to a multiple of 64, "
        "when unset.",
    )
