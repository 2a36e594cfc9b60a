"""Columns of an Arrow schema (a parquet file's, or a pandas frame's) as our types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.reasons import ReasonName

from ...base.errors import StageFailure
from ..expressions.dialect import Dialect
from ..expressions.many import Same, select
from ..notes import Notes
from .frame import Engine, Frame

# Of a decimal.
MOST_DIGITS = 38


def kind_of(type_: pa.DataType) -> ColumnType | None:
    """The type that holds the values; None when a dataset cannot hold them. Whole numbers are
    bigints here, though they may be wider (``is_wide``)."""
    types = pa.types
    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if types.is_decimal(type_) and type_.precision > MOST_DIGITS:
        return None  # DuckDB makes doubles of them, and Spark fails
    if types.is_boolean(type_):
        return "boolean"
    if types.is_integer(type_) or (types.is_decimal(type_) and type_.scale <= 0):
        return "bigint"
    if types.is_floating(type_) or types.is_decimal(type_):
        return "double"
    if (
        types.is_string(type_)
        or types.is_large_string(type_)
        or types.is_string_view(type_)  # as Polars has it
        or types.is_null(type_)
    ):
        return "string"
    if types.is_date32(type_):
        return "date"
    if types.is_timestamp(type_):
        return "timestamp"
    return None


def is_list(type_: pa.DataType) -> bool:
    """Whether its values are lists, of one length or of any."""
    types = pa.types
    return bool(
        types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)
    )


def is_wide(type_: pa.DataType) -> bool:
    """Whether it has whole numbers beyond 64 bits."""
    if pa.types.is_dictionary(type_):
        return is_wide(type_.value_type)
    if pa.types.is_decimal(type_):
        return bool(type_.scale <= 0 and type_.precision - type_.scale > 18)
    return bool(type_ == pa.uint64())


def kinds_of(
    engine: Engine,
    view: str,
    schema: pa.Schema,
    what: str,
    reason: ReasonName,
    notes: Notes | None = None,
) -> dict[str, ColumnType]:
    """The type of each column: text for whole numbers of which some are beyond 64 bits.

    Raises StageFailure of ``reason`` for a type without counterpart; ``what`` names the data."""
    kinds: dict[str, ColumnType] = {}
    for field in schema:
        kind = kind_of(field.type)
        if kind is None:
            raise StageFailure(
                reason,
                f"{what}: column {field.name} is of type {field.type}, which a dataset cannot hold",
            )
        kinds[field.name] = kind
    dialect = engine.dialect
    wide = [field.name for field in schema if is_wide(field.type)]
    fine = [f.name for f in schema if pa.types.is_timestamp(f.type) and f.type.unit == "ns"]
    tests = [
        f"{dialect.ident(name)} > 9223372036854775807 OR {dialect.ident(name)} "
        "< -9223372036854775807"
        for name in wide
    ]
    tests += [dialect.has_nanoseconds(dialect.ident(name)) for name in fine]
    if not tests:
        return kinds
    counts = ", ".join(f"count(CASE WHEN {test} THEN 1 END)" for test in tests)
    (found,) = engine.rows(f"SELECT {counts} FROM {view}")
    for name, count in zip([*wide, *fine], found, strict=True):
        if not count:
            continue
        if name in wide:
            kinds[name] = "string"
            if notes:
                notes.warn("ReadAsText", f"{what}: {name} is text: {beyond(count)}")
        elif notes:
            notes.warn(
                "ValuesRounded",
                f"{what}: {name}: {count} times have nanoseconds; they were cut to microseconds",
            )
    return kinds


def beyond(count: int | None = None) -> str:
    """Why whole numbers were read as text."""
    some = "some" if count is None else count
    return (
        f"{some} of its whole numbers are beyond 64 bits, and a double would round them; "
        "drop it if it names the rows, `cast` it to double if it measures"
    )


def convert(
    engine: Engine,
    view: str,
    schema: pa.Schema,
    what: str,
    reason: ReasonName,
    kinds: Mapping[str, ColumnType] | None = None,
) -> Frame:
    """A view of data that has an Arrow schema, with our types, or with ``kinds``.

    Raises StageFailure of ``reason`` for a type without counterpart; ``what`` names the data."""
    kinds = kinds or kinds_of(engine, view, schema, what, reason)
    fields = {field.name: field for field in schema}
    dialect = engine.dialect
    selected: dict[str, str | Same] = {
        name: Same(dialect.ident(name), partial(converted, dialect, fields[name].type, kind))
        for name, kind in kinds.items()
    }
    return Frame(engine.view(select(dialect, selected, (), view)), kinds)


def converted(dialect: Dialect, type_: pa.DataType, kind: ColumnType, quoted: str) -> str:
    """SQL for a column of an Arrow type as one of our types."""
    if kind == "double":
        if pa.types.is_decimal(type_):
            quoted = dialect.decimal_to_double(quoted)
        return dialect.finite(f"CAST({quoted} AS DOUBLE)")
    if kind == "timestamp" and pa.types.is_timestamp(type_) and type_.unit == "ns":
        return dialect.from_nanoseconds(quoted)
    return f"CAST({quoted} AS {dialect.type_name(kind)})"
