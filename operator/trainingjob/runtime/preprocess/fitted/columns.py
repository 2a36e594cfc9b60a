"""Columns of rows as Arrow arrays of our six types, and as numpy's doubles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType

Columns = dict[str, pa.Array]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

ARROW: dict[ColumnType, pa.DataType] = {
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
_TIMES: Mapping[ColumnType, type[date]] = {"date": date, "timestamp": datetime}


@dataclass(frozen=True)
class Applied:
    """A step as it is applied to other rows: it goes row by row, and keeps all of them.

    ``made``: the types of columns that it makes, or makes anew; ``of``: those that each is made of;
    ``drops``: what it takes away. ``run`` gives some of the columns that are made."""

    made: Mapping[str, ColumnType] = field(default_factory=dict)
    of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    run: Callable[[Columns, Sequence[str]], Columns] = lambda columns, wanted: {}

    def after(self, kinds: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
        """The columns of a frame with these, after the step."""
        return {n: k for n, k in kinds.items() if n not in self.drops} | dict(self.made)


def doubles(column: pa.Array) -> Doubles:
    """Null is NaN, which no column has."""
    found = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=False)
    values: Doubles = found.to_numpy(zero_copy_only=False)
    return values


def of_doubles(values: Doubles) -> pa.Array:
    """What is not finite is null, as the engines have it."""
    finite = np.isfinite(values)
    return pa.array(values, mask=None if finite.all() else ~finite)


def whole(values: np.ndarray[Any, Any]) -> pa.Array:
    """As bigints, none of which is null."""
    return pa.array(values.astype(np.int64, copy=False))


def value_of(value: Any, kind: ColumnType) -> Any:
    """A value of a manifest, which has dates as text, as the columns have it."""
    time = _TIMES.get(kind)
    return time.fromisoformat(value) if time is not None and isinstance(value, str) else value


def key_of(value: Any) -> Any:
    """A value of a column as a manifest has it."""
    return str(value) if isinstance(value, date) else value


def places(column: pa.Array, known: Mapping[Any, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The place of each value among those that are ``known``; -1 for others, -2 for null."""
    if len(column) < 64:
        found = [-2 if v is None else known.get(key_of(v), -1) for v in column.to_pylist()]
        return np.array(found, dtype=np.int64)
    encoded = column.dictionary_encode()
    of = [known.get(key_of(value), -1) for value in encoded.dictionary.to_pylist()]
    indices = encoded.indices.fill_null(len(of)).to_numpy(zero_copy_only=False)
    return np.array([*of, -2], dtype=np.int64)[indices]
