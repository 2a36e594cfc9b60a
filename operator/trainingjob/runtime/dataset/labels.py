"""The label's values as class ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .buffers import values_of
from .classes import Value
from .columns import BadColumn, plain


class Classes:
    """The label's values; a class's index is its id.

    Values are compared as Python compares them: a label 1 is found under 1, 1.0 and true, since
    training code often changes the type of labels on their way.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = tuple(values)
        self._ids = {value: index for index, value in enumerate(values)}

    def ids(self, column: pa.Array) -> np.ndarray:
        """Ids, int64 [n]; raises BadColumn for nulls and for what is no class."""
        encoded = plain(column).dictionary_encode()
        ids = []
        for value in encoded.dictionary.to_pylist():
            if value not in self._ids:
                raise BadColumn(f"has {value!r:.60}, which is none of the classes {self}")
            ids.append(self._ids[value])
        return np.take(np.array(ids, dtype=np.int64), values_of(encoded.indices, np.int32))

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        shown = ", ".join(repr(value) for value in self.values[:10])
        return shown + (f", … ({len(self)} in all)" if len(self) > 10 else "")
