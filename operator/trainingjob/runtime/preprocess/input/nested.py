"""Columns of structs and lists as columns of their own: ``a.b`` of an object, ``emb_0``, ``emb_1``
and so on of a list of numbers. What cannot be one is left unread, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..engines.arrow import is_list, kind_of
from ..engines.frame import Engine, Unread

# Columns that structs and lists become, in all; and structs within structs.
MOST_MADE = 4096
MOST_DEPTH = 8


def _is_bytes(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


# What to write in place of a type that is none of ours.
_INSTEAD = [
    (pa.types.is_float16, "; write it as float32, or use engine pandas"),
    (_is_bytes, "; write it as a text: frame[…].str.decode('utf-8'), or .map(bytes.hex)"),
    (pa.types.is_fixed_size_binary, "; write it as a text: frame[…].map(bytes.hex)"),
    (lambda type_: isinstance(type_, pa.UuidType), "; write it as a text: frame[…].astype(str)"),
    (pa.types.is_decimal, "; write it as a text, or as a double"),
    (pa.types.is_duration, "; write it as seconds: frame[…].dt.total_seconds()"),
    (pa.types.is_time, "; write it as a text, or as seconds since midnight"),
]


@dataclass(frozen=True)
class Leaf:
    """A column, or a field of structs: its name, SQL for it, and its type."""

    name: str
    sql: str
    type: pa.DataType
    depth: int = 0

    @property
    def elements(self) -> pa.DataType | None:
        """The type of a list's numbers; None for what is no list of numbers."""
        if not is_list(self.type):
            return None
        inner = self.type.value_type
        return inner if kind_of(inner) in ("bigint", "double") else None

    @property
    def length(self) -> int | None:
        """Of a list whose type has a length."""
        return self.type.list_size if pa.types.is_fixed_size_list(self.type) else None


def leaves(engine: Engine, schema: pa.Schema) -> list[Leaf]:
    """The columns of a view with this schema, structs as their fields."""
    ident = engine.dialect.ident
    return [
        leaf
        for field in schema
        for leaf in _within(engine, Leaf(field.name, ident(field.name), field.type))
    ]


def _within(engine: Engine, leaf: Leaf) -> Iterator[Leaf]:
    fields = list(leaf.type) if pa.types.is_struct(leaf.type) else []
    if not fields or leaf.depth == MOST_DEPTH or len(fields) > MOST_MADE or _nameless(leaf):
        yield leaf
        return
    for field in fields:
        sql = f"({leaf.sql}).{engine.dialect.ident(field.name)}"
        inner = Leaf(f"{leaf.name}.{field.name}", sql, field.type, leaf.depth + 1)
        yield from _within(engine, inner)


def _nameless(leaf: Leaf) -> bool:
    return any(not field.name or "\0" in field.name for field in leaf.type)


def lengths(engine: Engine, view: str, found: Sequence[Leaf]) -> dict[str, tuple[int, int]]:
    """The least and the greatest length of each list of numbers, where it has values."""
    lists = [leaf for leaf in found if leaf.elements is not None]
    known = {leaf.name: (leaf.length, leaf.length) for leaf in lists if leaf.length is not None}
    asked = [leaf for leaf in lists if leaf.name not in known]
    if asked:
        sizes = [engine.dialect.length(leaf.sql) for leaf in asked]
        texts = [f"{how}({size})" for size in sizes for how in ("min", "max")]
        (row,) = engine.rows(f"SELECT {', '.join(texts)} FROM {view}")
        pairs = zip(asked, row[0::2], row[1::2], strict=True)
        known |= {leaf.name: (least, most) for leaf, least, most in pairs if least is not None}
    return known  # type: ignore[return-value]


def elements_of(engine: Engine, leaf: Leaf, length: int) -> list[Leaf]:
    """The numbers of a list as columns."""
    kind = leaf.elements
    return [
        Leaf(f"{leaf.name}_{place}", engine.dialect.item(leaf.sql, place), kind, leaf.depth + 1)
        for place in range(length)
    ]


def unread(engine: Engine, leaf: Leaf, of_list: tuple[int, int] | None) -> Unread | None:
    """Why a dataset cannot hold a column; None when it can. ``of_list``: the lengths of a list."""
    if not engine.reads(leaf.type):
        how = _instead(leaf.type)
        return _nested(f"is of type {leaf.type}, which engine spark does not read{how}")
    if leaf.elements is not None:
        if of_list is None:
            return _nested("has lists without values")
        least, most = of_list
        if least != most:
            return _nested(f"has lists of {least} to {most} numbers, which are no columns")
        if not most:
            return _nested("has lists without values")
        return None
    if kind_of(leaf.type) is not None:
        return None
    if pa.types.is_struct(leaf.type):
        many = leaf.type.num_fields
        what = f"{many} fields" if many > MOST_MADE else "structs without fields"
        if leaf.depth == MOST_DEPTH:
            what = f"structs below {MOST_DEPTH} others"
        elif _nameless(leaf):
            what = "fields without a name"
        return _nested(f"has {what}")
    shown = str(leaf.type)
    shown = shown if len(shown) < 60 else f"{shown[:60]} …"
    return _nested(f"is of type {shown}, which a dataset cannot hold{_instead(leaf.type)}")


def _instead(type_: pa.DataType) -> str:
    inner = type_.value_type if is_list(type_) else type_
    return next((words for fits, words in _INSTEAD if fits(inner)), "")


def too_many(names: Mapping[str, int]) -> dict[str, Unread]:
    """Lists that would become more columns than there may be, in all; ``names``: of each how many.
    The shortest come first."""
    total, found = 0, {}
    for name, count in sorted(names.items(), key=lambda pair: pair[1]):
        total += count
        if total > MOST_MADE:
            found[name] = _nested(
                f"has lists of {count} numbers, and structs and lists become at most {MOST_MADE} "
                "columns"
            )
    return found


def _nested(why: str) -> Unread:
    return Unread("ColumnUnreadable", why)
