"""``predictions.parquet``: what user code predicted for the test split itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..base.errors import StageFailure
from ..base.text import one_line
from ..dataset.classes import written
from ..dataset.columns import BadColumn, numbers
from ..dataset.labels import Classes
from ..dataset.moments import Moments
from ..dataset.rows import Rows, read_parquet
from .judgement import Batch

TRUTH = "y_true"
PREDICTED = "y_pred"
SCORE = "y_score_"

_BATCH_NUMBERS = 2**20
# Of the label's standard deviation: float32 and scaling forth and back lose less.
_TOLERANCE = 1e-4


def read_predictions(path: Path, split: Rows) -> Iterator[Batch]:
    """Batches of the file, then a check that its truths are those of the split.

    The order of the rows is free. Truths are compared by the number of rows of each class, or for
    regression by count, mean, deviation and range: not proof against forgery, but nobody judges a
    model on the wrong data by accident. Raises StageFailure(PredictionsInvalid).
    """
    classes = split.classes
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _invalid(path, f"cannot be read: {one_line(error)}") from error
    for name in (TRUTH, PREDICTED):
        if name not in schema.names:
            raise _invalid(path, f"has no column {name}")
    if rows != split.count:
        raise _invalid(path, f"has {rows} rows, the test split has {split.count}")
    scores = [] if classes is None else _score_columns(path, schema.names, classes)
    columns = [TRUTH, PREDICTED, *(name for name in scores if name)]
    size = max(1, _BATCH_NUMBERS // len(columns))
    truths = _Truths(classes)
    for table in read_parquet(path, columns, size, "PredictionsInvalid"):
        truth = _column(path, table, TRUTH, classes)
        predicted = _column(path, table, PREDICTED, classes)
        truths.add(truth)
        yield Batch(truth, predicted, _scores(path, table, scores))
    expected = _Truths(classes)
    for truth in split.truths():
        expected.add(truth)
    if difference := truths.difference(expected):
        raise _invalid(path, f"is not about the test split: {difference}")


class _Truths:
    """What is known of a set of truths, whatever their order."""

    def __init__(self, classes: Classes | None) -> None:
        self._classes = classes
        self._counts = np.zeros(len(classes) if classes else 0, dtype=np.int64)
        self._moments = Moments()

    def add(self, truth: np.ndarray) -> None:
        if self._classes:
            self._counts += np.bincount(truth, minlength=len(self._counts))
        else:
            self._moments.add(truth)

    def difference(self, split: _Truths) -> str:
        """What is different in the split, in words; empty when nothing is."""
        if self._classes:
            wrong = np.flatnonzero(self._counts != split._counts)
            if not len(wrong):
                return ""
            value = self._classes.values[wrong[0]]
            ours, theirs = self._counts[wrong[0]], split._counts[wrong[0]]
            return f"{TRUTH} has class {value} {ours} times, the split's label {theirs} times"
        mine, other = self._moments, split._moments
        if mine.near(other, _TOLERANCE):
            return ""
        return (
            f"{TRUTH} has mean {mine.mean:.6g} and range {mine.low:.6g} to {mine.high:.6g}, "
            f"the split's label {other.mean:.6g} and {other.low:.6g} to {other.high:.6g}"
        )


def _column(path: Path, table: pa.RecordBatch, name: str, classes: Classes | None) -> np.ndarray:
    column = table.column(name)
    try:
        if classes is not None:
            return classes.ids(column)
        return _finite(path, name, numbers(column))
    except BadColumn as error:
        raise _invalid(path, f"{name} {error}") from error


def _score_columns(path: Path, names: list[str], classes: Classes) -> list[str | None]:
    """The score column of each class; none at all, or None for one of two classes, whose score is
    1 minus the other."""
    given = {name for name in names if name.startswith(SCORE)}
    if not given:
        return []
    found: list[str | None] = []
    for index in range(len(classes)):
        known = [name for name in _names(classes, index) if name in given]
        found.append(known[0] if known else None)
    unknown = sorted(given - set(found))
    if unknown:
        raise _invalid(path, f"{unknown[0]} names none of the classes {classes}")
    missing = [index for index, name in enumerate(found) if name is None]
    if missing and len(classes) != 2:
        raise _invalid(path, f"has no column {_names(classes, missing[0])[0]}")
    return found


def _names(classes: Classes, index: int) -> list[str]:
    """Names that the column of a class's scores may have."""
    return [f"{SCORE}{name}" for name in written(classes.values[index])]


def _scores(path: Path, table: pa.RecordBatch, names: list[str | None]) -> np.ndarray | None:
    if not names:
        return None
    scores = np.empty((table.num_rows, len(names)))
    for index, name in enumerate(names):
        if name is not None:
            try:
                scores[:, index] = _finite(path, name, numbers(table.column(name)))
            except BadColumn as error:
                raise _invalid(path, f"{name} {error}") from error
    for index, name in enumerate(names):
        if name is None:
            scores[:, index] = 1 - scores[:, 1 - index]
    return scores


def _finite(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise _invalid(path, f"{name} has values that are not finite")
    return values


def _invalid(path: Path, what: str) -> StageFailure:
    return StageFailure("PredictionsInvalid", f"{path} {what}")
