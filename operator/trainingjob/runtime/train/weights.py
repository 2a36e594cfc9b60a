"""What a row counts in the loss: its own weight times that of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..base.errors import StageFailure
from ..base.text import listed
from ..dataset.classes import index_of
from ..dataset.columns import BadColumn, numbers
from ..dataset.labels import Classes
from ..dataset.rows import Rows

_ROWS = 65536


@dataclass(frozen=True)
class Weights:
    """``column`` holds the rows' own weights; ``by_class``: float64 [classes]."""

    column: str | None = None
    by_class: np.ndarray | None = None

    @classmethod
    def of_split(
        cls, rows: Rows, class_weights: str | Mapping[str, float] | None, column: str | None
    ) -> Weights | None:
        """The weights of a split's rows, all of which are looked at; None for none.

        ``class_weights``: by class, or ``balanced``, which weighs a class by
        rows / (classes · rows of the class), of the classes that the split has, as scikit-learn's
        compute_class_weight does. Raises StageFailure: ColumnNotFound, WeightInvalid,
        SettingUnsuitable.
        """
        if class_weights is None and column is None:
            return None
        given = None
        if class_weights is not None and not isinstance(class_weights, str):
            assert rows.classes is not None
            given = _by_class(class_weights, rows.classes)
        weights = cls(column, given)
        if column is not None and column not in rows.manifest.columns:
            raise StageFailure(
                "ColumnNotFound",
                f"train.sampleWeight: the dataset has no column {column} "
                f"(columns: {listed(rows.manifest.columns)})",
            )
        total, counts = 0.0, np.zeros(len(rows.classes or ()), dtype=np.int64)
        for path, batch in rows.batches([rows.manifest.label, *weights.columns], _ROWS):
            truth = rows.truth(path, batch)
            total += float(weights.of(path, batch, truth).sum())
            if isinstance(class_weights, str):
                counts += np.bincount(truth, minlength=len(counts))
        if rows.count and not total > 0:
            raise StageFailure(
                "WeightInvalid", f"every row of the {rows.split} split has the weight 0"
            )
        if isinstance(class_weights, str):
            present = np.maximum(counts, 1)
            return cls(column, counts.sum() / (np.count_nonzero(counts) * present))
        return weights

    @property
    def columns(self) -> Sequence[str]:
        """Columns to read for it."""
        return () if self.column is None else (self.column,)

    def of(self, path: Path, batch: pa.RecordBatch, truth: np.ndarray) -> np.ndarray:
        """Weights [n] of a batch; ``truth``: class ids when classes are weighed.

        Raises StageFailure(WeightInvalid) for what is no number from 0 on."""
        weights = np.ones(batch.num_rows)
        if self.column is not None:
            try:
                weights = numbers(batch.column(self.column)).astype(np.float64)
            except BadColumn as error:
                raise _invalid(self.column, path, str(error)) from error
            with np.errstate(over="ignore"):
                wrong = ~(np.isfinite(weights.astype(np.float32)) & (weights >= 0))
            if wrong.any():
                raise _invalid(self.column, path, f"has the value {weights[wrong][0]:g}")
        return weights if self.by_class is None else weights * self.by_class[truth]


def _by_class(given: Mapping[str, float], classes: Classes) -> np.ndarray:
    """A class that is not given weighs 1. Raises StageFailure(SettingUnsuitable)."""
    weights = np.ones(len(classes))
    for name, weight in given.items():
        weights[index_of(classes.values, name, "train.classWeights")] = weight
    return weights


def _invalid(column: str, path: Path, what: str) -> StageFailure:
    return StageFailure(
        "WeightInvalid",
        f"train.sampleWeight: the column {column} in {path} {what}; weights are finite numbers "
        "from 0 on",
    )
