"""The built-in language models: a decoder as Hugging Face's transformers has it, new or given."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import Location
from .patterns import NO_NUL


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


class Lora(Model):
    """Train small matrices beside the model's own (LoRA); they are added to these at the end."""

    rank: Annotated[int, Field(ge=1, le=1024)] = Field(description="Of the small matrices.")
    alpha: Annotated[int, Field(ge=1, le=1000000)] | None = Field(
        None, description="They count alpha / rank times; unset: 2 · rank."
    )
    targets: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=NO_NUL)]],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = Field(
        None,
        description="Ends of the names of the layers that get them, such as `q_proj`; all linear "
        "ones but the last when unset.",
    )


class Pretrained(Location):
    """A model as Hugging Face's save_pretrained leaves it: config.json, tokenizer, safetensors."""

    lora: Lora | None = Field(
        None, description="Train small matrices alone; without it, all weights."
    )
