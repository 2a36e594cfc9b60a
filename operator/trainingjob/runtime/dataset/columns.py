"""Columns of parquet files as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


@dataclass(frozen=True)
class Encoding:
    """How a model takes columns: as ``kind``, and nothing but numbers if ``categories`` is None.

    Else nulls are NaN, and a text is the place of its value in its column's ``categories``, or NaN
    where it is none of them."""

    kind: type[np.floating] = np.float32
    categories: Mapping[str, Sequence[str]] | None = None
    _known: dict[str, pa.Array] = field(default_factory=dict)

    def of(self, name: str, column: pa.Array) -> np.ndarray:
        """The column's values [n], of any kind of number. Raises BadColumn."""
        if self.categories is None:
            return numbers(column)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if name not in self.categories:
            valid = column.drop_null()
            if len(valid) == len(column):
                return numbers(column)
            found = np.full(len(column), np.nan)
            found[column.is_valid().to_numpy(zero_copy_only=False)] = numbers(valid)
            return found
        if name not in self._known:
            self._known[name] = pa.array(self.categories[name], type=pa.string())
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise BadColumn(f"is {column.type}, and was text in training")
        places = pc.index_in(column.cast(pa.string()), self._known[name])
        return places.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)

    def matrix(self, names: Sequence[str], columns: Mapping[str, pa.Array]) -> np.ndarray:
        """[n, d]. Raises BadColumn, whose message begins with the feature's name."""
        rows = len(next(iter(columns.values())))
        found = np.empty((rows, len(names)), dtype=self.kind)
        with np.errstate(over="ignore"):
            for place, name in enumerate(names):
                try:
                    found[:, place] = self.of(name, columns[name])
                except BadColumn as error:
                    raise BadColumn(f"{name} {error}") from error
        return found


NUMBERS = Encoding()
