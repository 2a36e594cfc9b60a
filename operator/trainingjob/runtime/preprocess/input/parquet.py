"""Reading Parquet."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..engines.frame import Engine, Frame
from ..names import check_names
from ..notes import Notes
from .files import Source, one_of, readable
from .packing import refuse_other_formats, refuse_rows
from .together import by_columns, together

# Of columns in row groups; a footer may have millions.
_MOST_STATISTICS = 100_000
# How Arrow names the columns of an index without names.
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")


def read_parquet(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Collection[str] = (),
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
        message = f"{source.uri}: {listed(list(infinite))}: infinite values are read as null"
        notes.warn("ValuesBecameNull", message)
    schemas = {file: head.schema for file, head in heads.items()}
    for file, schema in schemas.items():
        check_names(str(file), schema.names)
    return together(
        engine,
        source,
        by_columns(source, schemas, engine.read_parquet),
        notes,
        typed=typed,
        as_json=as_json,
    )


@dataclass(frozen=True)
class ParquetHead:
    """Of one file: its columns without those that are ``index``, the index of the pandas frame that
    it was written from."""

    schema: pa.Schema
    index: list[str]
    rows: int
    infinite: list[str] = field(default_factory=list)  # columns, as far as the file says so


def parquet_heads(source: Source) -> dict[Path, ParquetHead]:
    """The files' heads. Raises StageFailure(InputUnreadable, InputEmpty)."""
    heads: dict[Path, ParquetHead] = {}
    for file in source.files:
        with one_of(source, file), readable(file):
            try:
                footer = pq.read_metadata(file)
                schema = footer.schema.to_arrow_schema().remove_metadata()
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
        heads[file] = ParquetHead(kept, index, footer.num_rows, _infinite(footer))
    if not any(head.rows for head in heads.values()):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    return heads


def _infinite(footer: pq.FileMetaData) -> list[str]:
    """The columns whose least or greatest value is infinite, by the statistics of row groups."""
    names = [footer.schema.column(place) for place in range(footer.num_columns)]
    left = {at: one for at, one in enumerate(names) if one.physical_type in ("FLOAT", "DOUBLE")}
    found = []
    for group in range(min(footer.num_row_groups, _MOST_STATISTICS // max(1, len(left)))):
        columns = footer.row_group(group)
        for place, one in [*left.items()]:
            its = columns.column(place).statistics
            if its and its.has_min_max and (math.isinf(its.min) or math.isinf(its.max)):
                found.append(re.sub(r"\.list\.(element|item)$", "", one.path))
                del left[place]
    return found


def _pandas_index(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The columns that pandas' own reader makes the index of, not columns; one that only counts
    the rows is no column at all."""
    try:
        found = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
