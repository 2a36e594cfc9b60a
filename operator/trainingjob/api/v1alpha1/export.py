"""A built-in model in other forms, beside its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule

VariantName = Literal["onnx", "int8"]


class Int8(Model):
    """Weights of 8 bits (onnxruntime's dynamic quantisation), as ONNX."""

    max_drop: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="By which share of its value a metric may be worse than the model's, or this "
        "is refused; 0.01 when unset.",
    )


class Quantize(Model):
    """Smaller numbers."""

    int8: Int8 = Field(description="Weights of 8 bits.")


class Export(Model):
    """Further forms of the model, in `model/variants`; evaluation judges each."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.formats) || has(self.quantize)",
            message="export needs formats or quantize",
            holds=lambda self: self.formats is not None or self.quantize is not None,
        ),
    )

    formats: Annotated[list[Literal["onnx"]], Field(min_length=1, max_length=1)] | None = Field(
        None, description="As the model is."
    )
    quantize: Quantize | None = Field(None, description="With smaller numbers.")

    @property
    def names(self) -> list[VariantName]:
        """Of all that are asked for."""
        int8: list[VariantName] = ["int8"] if self.quantize is not None else []
        return [*(self.formats or ()), *int8]
