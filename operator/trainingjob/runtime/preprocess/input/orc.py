"""Reading ORC."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyarrow import orc

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..engines.frame import Engine, Frame
from ..names import check_names
from ..notes import Notes
from .files import Source, one_of
from .packing import refuse_other_formats, refuse_rows
from .schema import Wanted
from .together import by_columns, together

# Who does not say in the file which calendar its days are of: pandas, Arrow and others.
_CPP = "ORC_CPP"


def read_orc(
    engine: Engine,
    source: Source,
    notes: Notes,
    typed: Mapping[str, Wanted] | None = None,
    as_json: str | None = None,
) -> Frame:
    """Raises StageFailure(InputUnreadable, InputEmpty, DuplicateColumns, ColumnsDiffer)."""
    schemas, rows, nameless = {}, 0, False
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
        nameless |= opened.writer == _CPP
        check_names(str(file), schemas[file].names)
    if not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = rows
    parts = by_columns(source, schemas, engine.read_orc)
    # Of Parquet the file's statistics say which columns are infinite, and here nobody does.
    frame = together(
        engine, source, parts, notes, typed=typed, as_json=as_json, infinite=lambda name: True
    )
    if nameless and engine.runs_spark_sql:
        _refuse_old_days(engine, source.uri, frame)
    return frame


def _refuse_old_days(engine: Engine, uri: str, frame: Frame) -> None:
    """Raises StageFailure(InputUnreadable) for days that Spark takes for those of Julius' calendar,
    as the file does not say which it has."""
    days = [name for name, kind in frame.columns.items() if kind == "date"]
    if not days:
        return
    tests = (f"min({engine.dialect.ident(name)}) < DATE '1582-10-15'" for name in days)
    (row,) = engine.rows(f"SELECT {', '.join(tests)} FROM {frame.view}")
    if old := [name for name, some in zip(days, row, strict=True) if some]:
        raise StageFailure(
            "InputUnreadable",
            f"{uri}: {listed(old)}: days before 15 October 1582, which Spark would shift by up to "
            "ten days as the file does not say which calendar it has; set engine to pandas, or "
            "write Parquet",
        )
