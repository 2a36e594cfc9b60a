"""Columns of parquet files as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from .buffers import values_of


class BadColumn(Exception):
    """What is wrong with a column, to be put after its name: ``has 3 nulls``."""


def numbers(column: pa.Array) -> np.ndarray:
    """The column as numbers [n] in a type of its own; booleans as 0 and 1.

    Raises BadColumn for nulls and for what is neither number nor boolean.
    """
    column = plain(column)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise BadColumn(f"is {kind}, not a number")
    return values_of(column, column.type.to_pandas_dtype())


def plain(column: pa.Array) -> pa.Array:
    """Without dictionary encoding (pandas' categories). Raises BadColumn for nulls."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise BadColumn(f"has {column.null_count} nulls")
    return column
