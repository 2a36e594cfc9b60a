"""How rows are divided into training, validation and test."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule

Fraction = Annotated[float, Field(ge=0, le=0.9)]


class Split(Model):
    """How rows are divided: in a random order that comes from the seed and from each row as it was
    read (after the script, if there is one, and after the last `sql` step before the division),
    copies of a row each for itself. Neither the order of rows and files, nor the engine, nor a
    step that computes, renames or drops columns changes who goes where."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.test + self.validation <= 0.9000001",  # sums of fractions are not exact
            message="test and validation together must leave at least 0.1 for training",
            holds=lambda self: self.test + self.validation <= 0.9000001,
        ),
    )

    test: Fraction = Field(0.2, description="Share of rows held out for the evaluation.")
    validation: Fraction = Field(0.1, description="Share of rows for early stopping.")
    seed: Annotated[int, Field(ge=0, le=2147483647)] = Field(
        0, description="Another seed, another division."
    )
    stratify: bool = Field(
        False, description="Keep the label's distribution in every split (classification)."
    )
    rare: Literal["keepInTrain", "drop", "fail"] | None = Field(
        None,
        description="What becomes of the rows of a class that is too rare to be in every split: "
        "all of them are for training, or dropped, either with a warning in status, or the job "
        "fails; `keepInTrain` when unset.",
    )
