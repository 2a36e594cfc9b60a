"""Words for messages about columns."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..base.errors import StageFailure
from ..base.text import cut, listed
from ..dataset.meant import parts

if TYPE_CHECKING:
    from .engines.frame import Unread


def column_not_found(
    where: str, name: str, columns: Collection[str], unread: Mapping[str, Unread] | None = None
) -> StageFailure:
    """``where`` reads like "step 3 (drop)"; ``unread`` are columns of the input that are none
    here."""
    if unread and name in unread:
        return cannot_use(where, name, unread[name])
    return StageFailure("ColumnNotFound", f"{where}: {no_column(name, columns)}")


def no_column(name: str, columns: Collection[str]) -> str:
    """``there is no column prize; did you mean price?`` and which there are."""
    found = parts(name, columns)
    if len(found) > 1:
        return f"{name} is here as {listed(found)}: name those"
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in columns], n=1)
    hint = next((f"; did you mean {column}?" for column in columns if [column.lower()] == near), "")
    return f"there is no column {name}{hint} (columns: {listed(columns)})"


def cannot_use(where: str, name: str, unread: Unread) -> StageFailure:
    """A column of the input that is used, though nothing can hold it."""
    return StageFailure(unread.reason, f"{where}: column {name} {unread.why}")


@contextmanager
def of_unread(where: str, unread: Mapping[str, Unread]) -> Iterator[None]:
    """Say of a column that an expression did not find why it is not there."""
    try:
        yield
    except StageFailure as failure:
        if failure.reason != "ColumnNotFound":
            raise
        for name, why in unread.items():
            if re.search(
                rf"no column {re.escape(name)}(; did you mean| \(columns)", failure.message
            ):
                raise cannot_use(where, name, why) from failure
        raise


# How columns of ours begin; but a script keeps the one that says which file a row is from.
_OURS = re.compile(r"__trainingjob_|trainingjob_(?!split$)", re.I)


def check_names(where: str, names: Sequence[str]) -> None:
    """Of columns that others have named: raises StageFailure(DuplicateColumns) for what no column
    can be called, and for names that are equal."""
    for place, name in enumerate(names, 1):
        if not name:
            raise StageFailure("DuplicateColumns", f"{where}: column {place} has no name")
        if "\0" in name:
            words = f"{where}: the name of column {place} has a NUL character: {printable(name)}"
            raise StageFailure("DuplicateColumns", words)
        if _OURS.match(name):
            words = f"{where}: column {name} is named as only columns of the product are"
            raise StageFailure("DuplicateColumns", words)
    refuse_duplicates(where, names)


def refuse_duplicates(where: str, names: Sequence[str]) -> None:
    """SQL does not tell names apart that differ only in case: raises StageFailure for them."""
    counts = Counter(name.lower() for name in names)
    same = [name for name in names if counts[name.lower()] > 1]
    if not same:
        return
    pair = [name for name in same if name.lower() == same[0].lower()]
    how = "appears twice" if pair[0] == pair[1] else f"and {pair[1]} differ only in case"
    raise StageFailure("DuplicateColumns", f"{where}: column {pair[0]} {how}")


def refuse_keys(where: str, names: Collection[str], keys: Collection[str]) -> None:
    """Raises StageFailure(DuplicateColumns) for a column of files whose folders' names have it."""
    lower = {name.lower(): name for name in names}
    for key in keys:
        if key.lower() in lower:
            raise StageFailure(
                "DuplicateColumns",
                f"{where}: column {key} is in the files, and the names of their folders, {key}=…, "
                "have it as well; write the files without it, or the folders under other names",
            )


# What YAML takes for something else than a text.
_NO_TEXTS = ("true", "false", "yes", "no", "on", "off", "null")


def flow(name: str) -> str:
    """A name in YAML's brackets."""
    plain = re.fullmatch(r"[^\W\d][\w-]*( [\w-]+)*", name) and name.lower() not in _NO_TEXTS
    return name if plain else json.dumps(name, ensure_ascii=False)


def in_sql(name: str) -> str:
    """A name in an expression of Spark SQL."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
    return name if plain else "`" + name.replace("`", "``") + "`"


def printable(text: str) -> str:
    """Without line breaks, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: str, limit: int = 40) -> str:
    """A value of the data in a message."""
    return f'"{cut(printable(value), limit)}"'
