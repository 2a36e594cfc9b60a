"""Reading ORC."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
from pyarrow import orc

from ...base.errors import StageFailure
from ...base.text import one_line
from ..engines.frame import Engine, Frame
from ..names import check_names
from ..notes import Notes
from .files import Source
from .packing import refuse_other_formats
from .together import by_columns, together


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
            refuse_other_formats(file, "ORC", one_line(error))
        schemas[file] = opened.schema.remove_metadata()
        rows += opened.nrows
        check_names(str(file), schemas[file].names)
    if not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = rows
    return together(
        engine,
        source,
        by_columns(source, schemas, engine.read_orc),
        notes,
        typed=typed,
        as_json=as_json,
    )
