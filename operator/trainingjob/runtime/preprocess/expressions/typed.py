"""SQL with its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainingjob.api.v1alpha1.input import ColumnType

# "null": of a NULL that could be anything.
Kind = ColumnType | Literal["null"]


@dataclass(frozen=True)
class Typed:
    """SQL and the type of what it gives."""

    sql: str
    kind: Kind


def common_kind(one: Kind, other: Kind) -> Kind:
    """The type that holds values of both; text holds any."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if {one, other} == {"bigint", "double"}:
        return "double"
    if {one, other} == {"date", "timestamp"}:
        return "timestamp"
    return "string"
