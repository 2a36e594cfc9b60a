"""Columns of an Arrow schema (a parquet file's, or a pandas frame's) as our types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.reasons import ReasonName

from ...base.errors import StageFailure
from ...base.text import listed
from ..expressions.dialect import Dialect
from ..expressions.many import Same, select
from ..input import called
from ..names import flow
from ..notes import Notes
from .frame import Engine, Frame

# Of a decimal.
MOST_DIGITS = 38
# That any double holds.
SURE_DIGITS = 15


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


def decimal_of(type_: pa.DataType) -> pa.DataType | None:
    """The type of decimals with digits behind the point, if it has such."""
    if pa.types.is_dictionary(type_):
        return decimal_of(type_.value_type)
    return type_ if pa.types.is_decimal(type_) and type_.scale > 0 else None


def kinds_of(
    engine: Engine,
    view: str,
    schema: pa.Schema,
    what: str,
    reason: ReasonName,
    notes: Notes | None = None,
    *,
    as_text: Collection[str] = (),
    typed: Collection[str] = (),
    infinite: Callable[[str], bool] = lambda name: False,
) -> dict[str, ColumnType]:
    """The type of each column: text for whole numbers of which some are beyond 64 bits. Values that
    change are told. ``typed``: columns to which the user gives a type, ``as_text``: that of texts;
    ``infinite``: whether a column of doubles may have infinities that nobody has told yet.

    Raises StageFailure of ``reason`` for a type without counterpart; ``what`` names the data."""
    kinds: dict[str, ColumnType] = {}
    for field in schema:
        kind = kind_of(field.type)
        if kind is None:
            raise StageFailure(
                reason,
                f"{what}: column {field.name} is of type {field.type}, which a dataset cannot hold",
            )
        kinds[field.name] = "string" if field.name in as_text and decimal_of(field.type) else kind
    dialect = engine.dialect
    tests: dict[tuple[str, str], str] = {}
    for field in schema:
        name, type_, ident = field.name, field.type, dialect.ident(field.name)
        if is_wide(type_):
            tests["wide", name] = f"{ident} > 9223372036854775807 OR {ident} < -9223372036854775807"
        elif pa.types.is_timestamp(type_) and type_.unit == "ns":
            tests["fine", name] = dialect.has_nanoseconds(ident)
        elif kinds[name] == "double" and (decimal := decimal_of(type_)):
            if notes and name not in typed and decimal.precision > SURE_DIGITS:
                tests["long", name] = dialect.is_rounded(ident, decimal.precision, decimal.scale)
        elif notes and kinds[name] == "double" and infinite(name):
            tests["infinite", name] = f"abs(CAST({ident} AS DOUBLE)) = CAST('Infinity' AS DOUBLE)"
    if not tests:
        return kinds
    counts = ", ".join(f"count(CASE WHEN {test} THEN 1 END)" for test in tests.values())
    (row,) = engine.rows(f"SELECT {counts} FROM {view}")
    found = {key: count for key, count in zip(tests, row, strict=True) if count}
    kinds |= {name: "string" for test, name in found if test == "wide"}
    if notes:
        _tell(what, found, typed, notes)
    return kinds


def _tell(
    what: str, found: Mapping[tuple[str, str], int], typed: Collection[str], notes: Notes
) -> None:
    """Warn of values that are not what they were; ``found``: how many, by test and column."""
    for (test, name), count in found.items():
        if test == "wide" and name not in typed:
            notes.warn("ReadAsText", f"{what}: {name} is text: {beyond(count)}")
        elif test == "fine":
            notes.warn(
                "ValuesRounded",
                f"{what}: {name}: {count} times have nanoseconds; they were cut to microseconds",
            )
        elif test == "long":
            notes.warn(
                "ValuesRounded",
                f"{what}: {name}: {count} decimals have more digits than a double holds, 15 to 17, "
                f"and are rounded; {called.field('schema')}: {{{flow(name)}: string}}, or "
                ".astype(str) in a script, keeps them, as text",
            )
    if names := [name for test, name in found if test == "infinite"]:
        notes.warn("ValuesBecameNull", f"{what}: {listed(names)}: {INFINITE}")


# What becomes of infinities.
INFINITE = "infinite values, or numbers beyond 1.8e308, are read as null"


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
    notes: Notes | None = None,
) -> Frame:
    """A view of data that has an Arrow schema, with our types. Values that change are told.

    Raises StageFailure of ``reason`` for a type without counterpart; ``what`` names the data."""
    kinds = kinds_of(engine, view, schema, what, reason, notes)
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
    if kind == "string" and (decimal := decimal_of(type_)):
        return dialect.decimal_to_text(quoted, decimal.scale)
    if kind == "timestamp" and pa.types.is_timestamp(type_) and type_.unit == "ns":
        return dialect.from_nanoseconds(quoted)
    return f"CAST({quoted} AS {dialect.type_name(kind)})"
