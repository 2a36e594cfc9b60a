"""The built-in trees of tables: scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..base import Model


class GradientBoosting(Model):
    """scikit-learn's HistGradientBoosting: trees, each of which mends those before it."""

    iterations: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        None, description="Most trees, of several classes trees of each; 100 when unset."
    )
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None, description="What a tree counts; 0.1 when unset."
    )
    max_leaves: Annotated[int, Field(ge=2, le=65536)] | None = Field(
        None, description="Of a tree; 31 when unset."
    )
    max_depth: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Of a tree; any when unset."
    )
    min_samples_leaf: Annotated[int, Field(ge=1, le=1000000000)] | None = Field(
        None, description="Rows of a leaf; 20 when unset."
    )
    l2: Annotated[float, Field(ge=0, le=1e9)] | None = Field(
        None, description="Penalty of the leaves' values; 0 when unset."
    )
    max_features: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of the features that each split may choose from; 1 when unset."
    )
    max_bins: Annotated[int, Field(ge=2, le=255)] | None = Field(
        None,
        description="Values that are told apart of a feature, and most categories of a text; 255 "
        "when unset.",
    )
