"""Arrow's values as numpy has them, and back, from their buffers: Arrow's own functions take longer
for thousands of short columns, and load pandas, which takes half a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def values_of(column: pa.Array, type_: Any) -> Any:
    """Numbers, times or days, whatever they are where they are null; nobody may write to them."""
    if not len(column):  # Arrow may have no buffer at all
        return np.empty(0, type_)
    return np.frombuffer(column.buffers()[1], type_)[column.offset :][: len(column)]


def flags_of(column: pa.Array) -> Any:
    """Booleans, whatever they are where they are null."""
    return _bits(column, 1)


def there(column: pa.Array) -> Any:
    """Which values are not null, of a column that has some null."""
    return _bits(column, 0)


def numpy_of(column: pa.ChunkedArray | pa.Array) -> Any:
    """Numbers or booleans, nulls as NaN where they are doubles."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(column.type):
        return flags_of(column)
    values = values_of(column, column.type.to_pandas_dtype())
    return np.where(there(column), values, np.nan) if column.null_count else values


def array_of(values: Any) -> pa.Array:
    """An array of 64-bit integers."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def _bits(column: pa.Array, buffer: int) -> Any:
    bits = np.frombuffer(column.buffers()[buffer], np.uint8)
    return np.unpackbits(bits, bitorder="little")[column.offset :][: len(column)].astype(bool)
