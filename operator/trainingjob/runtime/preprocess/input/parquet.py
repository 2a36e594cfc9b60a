"""Reading Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..engines.arrow import convert, kind_of, kinds_of
from ..engines.frame import Engine, Frame
from ..names import refuse_duplicates
from ..notes import Notes
from .files import Source, columns_differ, readable
from .partitions import partition_kinds, partition_values

# How Arrow names the columns of an index without names.
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")


def read_parquet(engine: Engine, source: Source, notes: Notes) -> Frame:
    heads = parquet_heads(source)
    files = list(heads)
    names = heads[files[0]].schema.names
    refuse_duplicates(source.uri, [*names, *source.keys])
    notes.rows = sum(head.rows for head in heads.values())
    left_out = dict.fromkeys(name for head in heads.values() for name in head.index)
    if left_out:
        notes.warn(
            "ColumnLeftOut",
            f"{source.uri}: {listed(list(left_out))}: the index of the pandas frame that was "
            "written is no column; to have it as one, reset_index() before to_parquet()",
        )
    schemas = {file: head.schema for file, head in heads.items()}
    groups = {file: tuple(sorted((f.name, str(f.type)) for f in s)) for file, s in schemas.items()}
    parts = source.parts(groups)
    views = [engine.read_parquet(part) for part in parts]
    kinds: dict[str, ColumnType] = {}
    origin: dict[str, Path] = {}
    for part, view in zip(parts, views, strict=True):
        schema = schemas[part.files[0]]
        # A column without values has no type of its own.
        typed = pa.schema([field for field in schema if not pa.types.is_null(field.type)])
        found = kinds_of(engine, view, typed, source.uri, "InputUnreadable", notes)
        for name, kind in found.items():
            before = kinds.setdefault(name, kind)
            origin.setdefault(name, part.files[0])
            if kind == before:
                continue
            if {kind, before} == {"bigint", "double"}:
                kinds[name] = "double"
                message = (
                    f"{source.uri}: {name} is a {before} in {origin[name]} and a {kind} in "
                    f"{part.files[0]}: read as doubles, which hold whole numbers up to 2**53"
                )
                notes.warn("ValuesRounded", message)
                continue
            if {kind, before} == {"bigint", "string"} and _both_whole(
                name, schema, schemas[origin[name]]
            ):
                kinds[name] = "string"
                continue
            raise StageFailure(
                "ColumnsDiffer",
                f"column {name} is a {before} in {origin[name]} and a {kind} in {part.files[0]}",
            )
    kinds = {name: kinds.get(name, "string") for name in names}
    columns = kinds | partition_kinds(source)
    if len(parts) == 1 and not source.keys:
        schema = schemas[files[0]]
        return convert(engine, views[0], schema, source.uri, "InputUnreadable", kinds)
    queries = []
    for part, view in zip(parts, views, strict=True):
        schema = schemas[part.files[0]]
        frame = convert(engine, view, schema, source.uri, "InputUnreadable", kinds)
        selected = [engine.dialect.ident(name) for name in names]
        selected += partition_values(engine.dialect, source, part)
        queries.append(f"SELECT {', '.join(selected)} FROM {frame.view}")
    return Frame(engine.view(" UNION ALL ".join(queries)), columns)


def _both_whole(name: str, one: pa.Schema, other: pa.Schema) -> bool:
    """Whether a column has whole numbers in both, of which some are beyond 64 bits."""
    return all(kind_of(schema.field(name).type) == "bigint" for schema in (one, other))


@dataclass(frozen=True)
class ParquetHead:
    """Of one file: its columns without those that are ``index``, the index of the pandas frame that
    it was written from."""

    schema: pa.Schema
    index: list[str]
    rows: int


def parquet_heads(source: Source) -> dict[Path, ParquetHead]:
    """The files' heads; all have the same columns.

    Raises StageFailure(InputUnreadable, InputEmpty, ColumnsDiffer)."""
    heads: dict[Path, ParquetHead] = {}
    for file in source.files:
        try:
            with readable(file):
                footer = pq.read_metadata(file)
                schema = footer.schema.to_arrow_schema().remove_metadata()
        except (pa.ArrowException, ValueError) as error:
            message = f"{file} is not a parquet file: {one_line(error)}"
            raise StageFailure("InputUnreadable", message) from error
        index = [name for name in _pandas_index(footer.metadata or {}) if name in schema.names]
        index += [n for n in schema.names if _INDEX_LEVEL.fullmatch(n) and n not in index]
        if len(index) == len(schema.names):
            index = []  # nothing else would be left
        kept = pa.schema([field for field in schema if field.name not in index])
        heads[file] = ParquetHead(kept, index, footer.num_rows)
        first = next(iter(heads))
        if sorted(kept.names) != sorted(heads[first].schema.names):
            raise columns_differ(file, kept.names, first, heads[first].schema.names)
    if not any(head.rows for head in heads.values()):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    return heads


def _pandas_index(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The columns that pandas' own reader makes the index of, not columns; one that only counts
    the rows is no column at all."""
    try:
        found = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
