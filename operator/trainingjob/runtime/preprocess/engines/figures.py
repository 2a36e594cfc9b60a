"""Figures of many columns in one pass over batches of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...dataset.buffers import there, values_of
from .frame import Figure

# Values of a batch that are at work at a time.
BATCH_VALUES = 2**21
# Brings the greatest doubles to where their squares are doubles, too.
SMALLER = 2.0**-600

Row = tuple[float | None, ...]
Doubles = np.ndarray[Any, np.dtype[np.float64]]


def in_units(
    columns: Sequence[str], figures: Callable[[Sequence[str], float], Iterable[Row]]
) -> list[Row]:
    """``figures`` of columns, in another unit where doubles are too small for them."""
    found = dict(zip(columns, figures(columns, 1.0), strict=True))
    large = [n for n, row in found.items() if not all(v is None or math.isfinite(v) for v in row)]
    if large:
        found.update(zip(large, figures(large, SMALLER), strict=True))
    return list(found.values())


def figures_of(
    batches: Iterable[pa.RecordBatch], width: int, which: Sequence[Figure], unit: float
) -> list[Row]:
    """Of each of ``width`` columns of numbers, in a unit; not finite where it is too small.

    The mean and the squares around it are put together as in Chan, Golub, LeVeque, Updating
    Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979."""
    count, mean, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    least, greatest = np.full(width, np.inf), np.full(width, -np.inf)
    with np.errstate(all="ignore"):
        for batch in batches:
            values = _matrix(batch)
            known = ~np.isnan(values)
            some = known.sum(axis=1)
            least = np.fmin(least, np.fmin.reduce(values, axis=1, initial=np.inf))
            greatest = np.fmax(greatest, np.fmax.reduce(values, axis=1, initial=-np.inf))
            if "mean" not in which:
                count += some
                continue
            values *= unit
            values[~known] = 0.0
            sums = values.sum(axis=1)
            means = sums / np.maximum(some, 1)
            values -= means[:, None]
            values[~known] = 0.0
            total = np.maximum(count + some, 1)
            apart = means - mean
            squares += np.einsum("ij,ij->i", values, values) + apart**2 * count * some / total
            mean += apart * some / total
            count += some
        found: dict[Figure, Doubles] = {
            "least": least,
            "greatest": greatest,
            "mean": mean / unit,
            "deviation": np.sqrt(squares / np.maximum(count, 1)) / unit,
        }
    rows = zip(*(found[name].tolist() for name in which), strict=True)
    return [row if some else (None,) * len(which) for row, some in zip(rows, count, strict=True)]


def _matrix(batch: pa.RecordBatch) -> Doubles:
    """The values of each column in a row, nulls as NaN."""
    values = np.empty((batch.num_columns, batch.num_rows))
    for place, column in enumerate(batch.columns):
        values[place] = values_of(column, np.float64)
        if column.null_count:
            values[place, ~there(column)] = np.nan
    return values
