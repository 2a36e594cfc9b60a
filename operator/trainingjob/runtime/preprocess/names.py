"""Words for messages about columns."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Sequence

from ..base.errors import StageFailure
from ..base.text import cut, listed


def column_not_found(where: str, name: str, columns: Collection[str]) -> StageFailure:
    """``where`` reads like "step 3 (drop)"."""
    return StageFailure("ColumnNotFound", f"{where}: {no_column(name, columns)}")


def no_column(name: str, columns: Collection[str]) -> str:
    """``there is no column prize; did you mean price?`` and which there are."""
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in columns], n=1)
    hint = next((f"; did you mean {column}?" for column in columns if [column.lower()] == near), "")
    return f"there is no column {name}{hint} (columns: {listed(columns)})"


def refuse_duplicates(where: str, names: Sequence[str]) -> None:
    """SQL does not tell names apart that differ only in case: raises StageFailure for them."""
    counts = Counter(name.lower() for name in names)
    same = [name for name in names if counts[name.lower()] > 1]
    if not same:
        return
    pair = [name for name in same if name.lower() == same[0].lower()]
    how = "appears twice" if pair[0] == pair[1] else f"and {pair[1]} differ only in case"
    raise StageFailure("DuplicateColumns", f"{where}: column {pair[0]} {how}")


def printable(text: str) -> str:
    """Without line breaks, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: str, limit: int = 40) -> str:
    """A value of the data in a message."""
    return f'"{cut(printable(value), limit)}"'
