"""Reading ORC."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import orc

from ...errors import StageFailure
from ..engines.frame import Engine, Frame
from ..names import one_line, refuse_duplicates
from ..notes import Notes
from .files import Source, readable
from .together import by_columns, together


def read_orc(engine: Engine, source: Source, notes: Notes) -> Frame:
    """Raises StageFailure(InputUnreadable, InputEmpty, DuplicateColumns, ColumnsDiffer)."""
    schemas, rows = {}, 0
    for file in source.files:
        try:
            with readable(file):
                opened = orc.ORCFile(file)
                schemas[file] = opened.schema.remove_metadata()
                rows += opened.nrows
        except (pa.ArrowException, ValueError) as error:
            message = f"{file} is not an ORC file: {one_line(error)}"
            raise StageFailure("InputUnreadable", message) from error
        refuse_duplicates(str(file), schemas[file].names)
    if not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = rows
    return together(engine, source, by_columns(source, schemas, engine.read_orc), notes)
