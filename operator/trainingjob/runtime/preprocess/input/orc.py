"""Reading ORC."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyarrow import orc

from ...base.errors import StageFailure
from ...base.text import one_line
from ..engines.frame import Engine, Frame
from ..names import check_names
from ..notes import Notes
from .files import Source, one_of
from .packing import refuse_other_formats, refuse_rows
from .schema import Wanted
from .together import by_columns, together


def read_orc(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Mapping[str, Wanted] | None = None,
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
    # Of Parquet the file's statistics say which columns are infinite, and here nobody does.
    return together(
        engine, source, parts, notes, typed=typed, as_json=as_json, infinite=lambda name: True
    )
