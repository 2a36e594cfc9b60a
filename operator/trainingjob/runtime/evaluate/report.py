"""``evaluation/metrics.json``: everything that is known about the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from trainingjob.api.base import Model
from trainingjob.api.v1alpha1.reported import Variant

from ..model.folder import Kind

METRICS = "metrics.json"
Source = Kind | Literal["ownCode"]


class ClassScores(Model):
    """A class's row of the table; None where nothing was predicted or nothing is there."""

    label: bool | int | float | str
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    support: int = Field(description="Rows of the class.")


class Scores(Model):
    """Metrics on some rows."""

    samples: int = Field(description="Rows.")
    metrics: dict[str, float]


class JudgedVariant(Variant):
    """As status has it; of an accepted model with what proves it. A server of an earlier version
    does not look at what it does not know."""

    outputs: list[list[float]] | None = Field(
        None, description="What it gave for the rows that the manifest shows, as the model's own."
    )


class MetricsFile(Model):
    """The file's content. With folds, what is known of each, and of the final model on the test
    split, is in files of their own: ``fold-1/metrics.json`` and ``test/metrics.json``."""

    version: Literal[1] = 1
    task: Literal["classification", "regression", "languageModel"]
    samples: int = Field(description="Rows of the test split, or of all folds.")
    metrics: dict[str, float] = Field(description="With folds the means of those of the folds.")
    deviation: dict[str, float] | None = Field(
        None, description="Their sample standard deviations over the folds."
    )
    folds: list[Scores] | None = Field(
        None, description="Of each fold, judged by the model that has not learned from it."
    )
    test: Scores | None = Field(
        None, description="With folds: of the final model on the test split, if there is one."
    )
    variants: list[JudgedVariant] | None = Field(
        None, description="The model in other forms, with the metrics that status has."
    )
    undefined: dict[str, str] = Field(description="Metrics without a value, and why.")
    classes: list[bool | int | float | str] | None = None
    positive_class: bool | int | float | str | None = Field(
        None, description="Two classes: what precision, recall, f1 and average_precision are of."
    )
    threshold: float | None = Field(
        None, description="The score of that class from which on a row was taken for it."
    )
    confusion_matrix: list[list[int]] | None = Field(
        None, description="Rows: true classes; columns: predicted ones; at most 1000 classes."
    )
    per_class: list[ClassScores] | None = None
    source: Source = Field(
        description="What was judged: model.pt2, model.onnx, a built-in model, "
        "predictions.parquet, a classifier of texts or a language model; `ownCode`: own code has "
        "judged, and nobody knows what."
    )
    model_uri: str
    model_digest: str
    dataset_uri: str
    dataset_digest: str

    @property
    def scores(self) -> Scores:
        """The metrics alone."""
        return Scores(samples=self.samples, metrics=self.metrics)

    def write(self, folder: Path) -> Path:
        """Write ``metrics.json`` into ``folder``."""
        path = folder / METRICS
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        return path
