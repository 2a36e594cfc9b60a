"""Columns of parquet files as numbers and as class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


class BadColumn(Exception):
    """What is wrong with a column, to be put after its name: ``has 3 nulls``."""


class Classes:
    """The label's values; a class's index is its id.

    Values are compared as Python compares them: a label 1 is found under 1, 1.0 and true, since
    training code often changes the type of labels on their way.
    """

    def __init__(self, values: Sequence[bool | int | float | str]) -> None:
        self.values = tuple(values)
        self._ids = {value: index for index, value in enumerate(values)}

    def ids(self, column: pa.Array) -> np.ndarray:
        """Ids, int64 [n]; raises BadColumn for nulls and for what is no class."""
        column = _plain(column)
        encoded = column.dictionary_encode()
        ids = []
        for value in encoded.dictionary.to_pylist():
            if value not in self._ids:
                raise BadColumn(f"has {value!r:.60}, which is none of the classes {self}")
            ids.append(self._ids[value])
        indices: np.ndarray = encoded.indices.to_numpy()
        return np.take(np.array(ids, dtype=np.int64), indices)

    def score_columns(self, index: int) -> tuple[str, ...]:
        """Names that a class's scores may have: ``y_score_True`` or ``y_score_true``."""
        value = self.values[index]
        names = [str(value)]
        if isinstance(value, bool):
            names.append(str(value).lower())
        elif isinstance(value, float) and value.is_integer():
            names.append(str(int(value)))
        return tuple(f"y_score_{name}" for name in names)

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        shown = ", ".join(repr(value) for value in self.values[:10])
        return shown + (f", … ({len(self)} in all)" if len(self) > 10 else "")


def numbers(column: pa.Array) -> np.ndarray:
    """The column as numbers [n] in a type of its own; booleans as 0 and 1.

    Raises BadColumn for nulls and for what is neither number nor boolean.
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise BadColumn(f"is {kind}, not a number")
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _plain(column: pa.Array) -> pa.Array:
    """Without dictionary encoding (pandas' categories), without nulls."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise BadColumn(f"has {column.null_count} nulls")
    return column
