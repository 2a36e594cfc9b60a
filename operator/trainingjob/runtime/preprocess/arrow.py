"""Columns of an Arrow schema (a parquet file's, or a pandas frame's) as our types."""

from __future__ import annotations

import pyarrow as pa

from trainingjob.api.v1alpha1.preprocess import ColumnType

from ..errors import StageFailure
from .dialect import Dialect
from .frame import Engine, Frame


def kind_of(type_: pa.DataType) -> ColumnType | None:
    """The type that holds the values; None when a dataset cannot hold them."""
    types = pa.types
    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if types.is_boolean(type_):
        return "boolean"
    if types.is_integer(type_):
        return "double" if type_ == pa.uint64() else "bigint"
    if types.is_floating(type_) or types.is_decimal(type_):
        return "double"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_null(type_):
        return "string"
    if types.is_date32(type_):
        return "date"
    if types.is_timestamp(type_):
        return "timestamp"
    return None


def convert(engine: Engine, view: str, schema: pa.Schema, what: str, reason: str) -> Frame:
    """A view of data that has an Arrow schema, with our types.

    Raises StageFailure of ``reason`` for a type without counterpart; ``what`` names the data."""
    columns: dict[str, ColumnType] = {}
    selected = []
    for field in schema:
        kind = kind_of(field.type)
        if kind is None:
            raise StageFailure(
                reason,
                f"{what}: column {field.name} is of type {field.type}, which a dataset cannot hold",
            )
        columns[field.name] = kind
        value = _converted(engine.dialect, field, kind)
        selected.append(f"{value} AS {engine.dialect.ident(field.name)}")
    return Frame(engine.view(f"SELECT {', '.join(selected)} FROM {view}"), columns)


def _converted(dialect: Dialect, field: pa.Field, kind: ColumnType) -> str:
    quoted = dialect.ident(field.name)
    if kind == "double":
        if pa.types.is_decimal(field.type):
            quoted = dialect.decimal_to_double(quoted)
        return dialect.finite(f"CAST({quoted} AS DOUBLE)")
    if kind == "timestamp" and field.type.unit == "ns":
        return dialect.from_nanoseconds(quoted)
    return f"CAST({quoted} AS {dialect.type_name(kind)})"
