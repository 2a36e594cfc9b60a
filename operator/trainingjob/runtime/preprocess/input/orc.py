"""Reading ORC."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
from pyarrow import orc

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..engines.frame import Engine, Frame
from ..names import check_names
from ..notes import Notes
from .files import Source, one_of
from .packing import refuse_other_formats, refuse_rows
from .together import Part, by_columns, together


def read_orc(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Collection[str] = (),
    as_json: str | None = None,
) -> Frame:
    """Raises StageFailure(InputUnreadable, InputEmpty, DuplicateColumns, ColumnsDiffer)."""
    schemas, rows = {}, 0
    for file in source.files:
        try:
            opened = orc.ORCFile(file)
        except (pa.ArrowException, ValueError, OSError) as error:
            # Whether it can be read at all was looked at before.
            with one_of(source, file):
                refuse_other_formats(file, "ORC", one_line(error))
        schemas[file] = opened.schema.remove_metadata()
        refuse_rows(file, opened.nrows, len(opened.schema))
        rows += opened.nrows
        check_names(str(file), schemas[file].names)
    if not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = rows
    parts = by_columns(source, schemas, engine.read_orc)
    _tell_of_infinities(engine, source, parts, notes)
    return together(engine, source, parts, notes, typed=typed, as_json=as_json)


def _tell_of_infinities(
    engine: Engine, source: Source, parts: Sequence[Part], notes: Notes
) -> None:
    """What becomes null: of Parquet the file's statistics say it, and here nobody does."""
    found: dict[str, None] = {}
    for part in parts:
        names = [one.name for one in part.schema if pa.types.is_floating(one.type)]
        infinite = "abs(CAST({} AS DOUBLE)) = CAST('Infinity' AS DOUBLE)".format
        tests = [f"max({infinite(engine.dialect.ident(name))})" for name in names]
        if tests:
            (row,) = engine.rows(f"SELECT {', '.join(tests)} FROM {part.view}")
            found |= {name: None for name, some in zip(names, row, strict=True) if some}
    if found:
        message = f"{source.uri}: {listed(list(found))}: infinite values are read as null"
        notes.warn("ValuesBecameNull", message)
