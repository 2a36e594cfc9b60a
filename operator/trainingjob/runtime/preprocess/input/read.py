"""Reading: one rule for types, whatever the engine."""

from __future__ import annotations

from trainingjob.api.v1alpha1.input import CsvOptions, Input

from ..engines.frame import Engine, Frame
from ..notes import Notes
from .csv import read_csv
from .files import Source, find
from .json import read_json
from .orc import read_orc
from .parquet import read_parquet


def read_input(
    engine: Engine, source: Input, found: Source | None = None, notes: Notes | None = None
) -> Frame:
    """The input as a frame, of the files that were ``found`` already, if they were; raises
    StageFailure(Input…, DuplicateColumns)."""
    notes = notes or Notes()
    found = found or find(source)
    if source.format == "csv":
        return read_csv(engine, found, source.options or CsvOptions(), notes)
    if source.format == "json":
        return read_json(engine, found, notes)
    if source.format == "orc":
        return read_orc(engine, found, notes)
    return read_parquet(engine, found, notes)
