"""Values of the training split, for what is learned of their order: quantiles and ranks.

The order of all values of a column is of no bounded size. Up to 200 000 rows all of them are
looked at, of more as many as that, at least half: those whose hashes end in zeros, so that both
engines look at the same ones (scikit-learn's KBinsDiscretizer looks at 200 000, its
QuantileTransformer at 10 000). A quantile of n values is off by about sqrt(q (1 - q) / n) in
share: 0.001 of a median.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..engines.frame import HASH, Frame
from .step import Where

_MOST_ROWS = 200_000
# Values that the driver holds at a time: columns are taken in groups.
_MOST_VALUES = 8_000_000

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def sorted_values(
    where: Where, frame: Frame, columns: Sequence[str]
) -> Iterator[tuple[str, Doubles]]:
    """Each column with its non-null values, which rise. Raises StageFailure(StepFailed) for a
    column without any."""
    assert frame.layout is not None
    rows = frame.layout.rows
    mask = (1 << max(0, -(-rows // _MOST_ROWS) - 1).bit_length()) - 1
    width = max(1, _MOST_VALUES // max(1, min(rows, _MOST_ROWS)))
    some = f" AND ({HASH} & {mask}) = 0" if mask else ""
    for start in range(0, len(columns), width):
        part = columns[start : start + width]
        names = ", ".join(f"CAST({where.dialect.ident(name)} AS DOUBLE)" for name in part)
        table = where.engine.arrow(f"SELECT {names} FROM {frame.view} WHERE {where.train}{some}")
        for name, column in zip(part, table.columns, strict=True):
            values = np.sort(column.drop_null().cast(pa.float64()).to_numpy())
            if not len(values):
                raise where.failure(f"column {name} has no value in the training split")
            yield name, values
