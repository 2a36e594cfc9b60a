"""What is to be predicted: a union by ``type``, of which each kind has its own fields."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..base import Model, Rule
from .common import Column, Columns
from .steps import Scalar

# What a pod can be told in all is little more.
MOST_FEATURE_CHARS = 96 * 1024


class Task(Model):
    """What is to be predicted."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.type == 'languageModel' "
            "? has(self.text) != has(self.messages) && !has(self.label) "
            ": has(self.label) && !has(self.text) && !has(self.messages)",
            message="classification and regression need a label and have no text; languageModel "
            "needs a text, or messages, and has no label",
            holds=lambda self: (
                (
                    sum(one is not None for one in (self.text, self.messages)),
                    self.label_column is not None,
                )
                == (self.type == "languageModel", self.type != "languageModel")
            ),
        ),
        Rule(
            cel="self.type != 'languageModel' || !has(self.features)",
            message="features are columns of classification and regression: a languageModel "
            "learns from its text",
            holds=lambda self: self.type != "languageModel" or self.features is None,
        ),
        Rule(
            cel="!has(self.features) || !has(self.label) || "
            "!self.features.exists(f, f == self.label)",
            message="label must not be one of the features",
            holds=lambda self: self.label not in (self.features or ()),
        ),
        # A sum that the API server can see for itself: see `size`.
        Rule(
            cel="!has(self.features) || "
            f"self.features.map(f, size(f)).sum() <= {MOST_FEATURE_CHARS}",
            message=f"features must have at most {MOST_FEATURE_CHARS} characters in all; leave "
            "them unset, and drop the columns that are not to be learned from",
            holds=lambda self: sum(map(len, self.features or ())) <= MOST_FEATURE_CHARS,
        ),
        Rule(
            cel=None,
            message="positiveClass needs task.type classification",
            holds=lambda self: self.positive_class is None or self.type == "classification",
            schema={
                "anyOf": [
                    {"properties": {"type": {"enum": ["classification"]}}},
                    {"not": {"required": ["positiveClass"]}},
                ]
            },
        ),
    )

    type: Literal["classification", "regression", "languageModel"] = Field(
        description="The kind of task."
    )
    label_column: Column | None = Field(
        None,
        alias="label",
        description="Classification, regression: the column that holds the truth.",
    )
    text: Column | None = Field(
        None, description="languageModel: the column that holds the texts, a document a row."
    )
    messages: Column | None = Field(
        None,
        description="languageModel, in place of text: the column of conversations, lists of "
        "objects with role and content, nested or as JSON. What role assistant says is learned.",
    )
    features: Columns | None = Field(
        None,
        description="Columns to learn from; all except the label when unset. `emb_*` means those "
        "whose names begin so, and `emb` the list or object of this name that the input has.",
    )
    positive_class: Scalar | None = Field(
        None,
        description="Two classes: the one that `precision`, `recall`, `f1`, `average_precision` "
        "and `evaluate.threshold` are about; the greater one when unset: 1 of 0 and 1, true, "
        "`yes` of `no` and `yes`.",
    )

    @property
    def label(self) -> str:
        """The column that the task is about, which steps leave alone that do not name it: the
        label, the text or the messages."""
        return self.label_column or self.text or self.messages or ""
