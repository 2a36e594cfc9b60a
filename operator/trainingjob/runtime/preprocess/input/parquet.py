"""Reading Parquet."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..engines.arrow import INFINITE
from ..engines.frame import Engine, Frame, Unread
from ..names import check_names
from ..notes import Notes
from .files import Source, one_of, readable
from .packing import refuse_other_formats, refuse_rows
from .schema import Wanted
from .together import by_columns, together

# Of columns in row groups; a footer may have millions.
_MOST_STATISTICS = 100_000
# How a file says that a column has times in milliseconds.
_MILLIS = "timeUnit=milliseconds"
_BEYOND = (
    "has times beyond the year 294246, which no engine can hold; where they stand for none, write "
    "null"
)
# How Arrow names the columns of an index without names.
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")


def read_parquet(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Mapping[str, Wanted] | None = None,
    as_json: str | None = None,
) -> Frame:
    heads = parquet_heads(source)
    notes.rows = sum(head.rows for head in heads.values())
    left_out = dict.fromkeys(name for head in heads.values() for name in head.index)
    if left_out:
        notes.warn(
            "ColumnLeftOut",
            f"{source.uri}: {listed(list(left_out))}: the index of the pandas frame that was "
            "written is no column; to have it as one, reset_index() before to_parquet()",
        )
    infinite = dict.fromkeys(name for head in heads.values() for name in head.infinite)
    if infinite:
        notes.warn("ValuesBecameNull", f"{source.uri}: {listed(list(infinite))}: {INFINITE}")
    unsaid = {name for head in heads.values() for name in head.unsaid} - {*infinite}
    unread = {name: why for head in heads.values() for name, why in head.unread.items()}
    schemas = {file: head.schema for file, head in heads.items()}
    for file, schema in schemas.items():
        check_names(str(file), schema.names)
    return together(
        engine,
        source,
        by_columns(source, schemas, engine.read_parquet),
        notes,
        unread or None,
        typed,
        as_json,
        # Of a list its elements are columns: e_0, e_1, ….
        lambda name: name in unsaid or name.rpartition("_")[0] in unsaid,
    )


@dataclass(frozen=True)
class ParquetHead:
    """Of one file: its columns without those that are ``index``, the index of the pandas frame that
    it was written from."""

    schema: pa.Schema
    index: list[str]
    rows: int
    # As far as the file says so: columns with infinite values, and those of which it does not say.
    infinite: list[str] = field(default_factory=list)
    unsaid: list[str] = field(default_factory=list)
    unread: dict[str, Unread] = field(default_factory=dict)


def parquet_heads(source: Source) -> dict[Path, ParquetHead]:
    """The files' heads. Raises StageFailure(InputUnreadable, InputEmpty)."""
    heads: dict[Path, ParquetHead] = {}
    for file in source.files:
        with one_of(source, file), readable(file):
            try:
                footer = pq.read_metadata(file)
                # Times of 96 bits would have nanoseconds, in which the year 9999 has no place.
                opened = pq.ParquetFile(file, metadata=footer, coerce_int96_timestamp_unit="us")
                schema = opened.schema_arrow.remove_metadata()
                opened.close()
            except pa.ArrowNotImplementedError as error:
                raise StageFailure(
                    "InputUnreadable",
                    f"{file}: {one_line(error)}: cast such columns to texts or numbers where the "
                    "file is written",
                ) from error
            except (pa.ArrowException, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                refuse_other_formats(file, "Parquet", one_line(error))
        refuse_rows(file, footer.num_rows, footer.num_columns)
        index = [name for name in _pandas_index(footer.metadata or {}) if name in schema.names]
        index += [n for n in schema.names if _INDEX_LEVEL.fullmatch(n) and n not in index]
        if len(index) == len(schema.names):
            index = []  # nothing else would be left
        kept = pa.schema([field for field in schema if field.name not in index])
        heads[file] = ParquetHead(kept, index, footer.num_rows, *_extremes(footer))
    if not any(head.rows for head in heads.values()):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    return heads


def _extremes(footer: pq.FileMetaData) -> tuple[list[str], list[str], dict[str, Unread]]:
    """By the statistics of row groups: the columns whose least or greatest value is infinite, those
    of which nothing is said, and those with times that no engine can hold."""
    names = [footer.schema.column(place) for place in range(footer.num_columns)]
    left = {at: one for at, one in enumerate(names) if _may_be_extreme(one)}
    infinite: dict[str, None] = {}
    unsaid: dict[str, None] = {}
    unread: dict[str, Unread] = {}
    looked_at = min(footer.num_row_groups, _MOST_STATISTICS // max(1, len(left)))
    if looked_at < footer.num_row_groups:
        unsaid = {_column(one): None for one in left.values()}
    for group in range(looked_at):
        columns = footer.row_group(group)
        for place, one in [*left.items()]:
            its, name = columns.column(place).statistics, _column(one)
            if one.physical_type == "INT64":
                if its and its.has_min_max and not _hold(its.min_raw, its.max_raw):
                    unread[name] = Unread("ColumnUnreadable", _BEYOND)
            elif its is None or not its.has_min_max:
                # A column without values has no least one.
                if its is None or its.null_count != columns.column(place).num_values:
                    unsaid[name] = None
            elif _is_half(one):
                unsaid[name] = None
            elif math.isinf(its.min) or math.isinf(its.max):
                infinite[name] = None
                del left[place]
    return [*infinite], [*unsaid], unread


def _may_be_extreme(column: pq.ColumnSchema) -> bool:
    return (
        column.physical_type in ("FLOAT", "DOUBLE")
        or _is_half(column)
        or (column.physical_type == "INT64" and _MILLIS in str(column.logical_type))
    )


def _is_half(column: pq.ColumnSchema) -> bool:
    return column.logical_type.type == "FLOAT16"


def _column(column: pq.ColumnSchema) -> str:
    return re.sub(r"\.list\.(element|item)$", "", column.path)


def _hold(*millis: int) -> bool:
    """Whether microseconds of 64 bits hold such times."""
    return all(abs(one) <= (2**63 - 1) // 1000 for one in millis)


def _pandas_index(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The columns that pandas' own reader makes the index of, not columns; one that only counts
    the rows is no column at all."""
    try:
        found = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
