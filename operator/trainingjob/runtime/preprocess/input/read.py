"""Reading: one rule for types, whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob.api.v1alpha1.input import CsvOptions, Input

from ...base.errors import StageFailure
from ..engines.frame import Engine, Frame
from ..notes import Notes
from .csv import read_csv
from .documents import read_documents
from .files import Source, find, refuse_others
from .json import read_json
from .orc import read_orc
from .packing import packing_of
from .parquet import read_parquet
from .schema import conformed, wanted_columns
from .scratch import Scratch, in_utf8, unpacked, without_marks


def read_input(
    engine: Engine,
    source: Input,
    found: Source | None = None,
    notes: Notes | None = None,
    scratch: Scratch | None = None,
    *,
    hashes: bool = False,
    as_json: str | None = None,
) -> Frame:
    """The input as a frame, of the files that were ``found`` already, if they were; what must be
    written anew to be read goes to ``scratch``, and must stay there as long as the frame is used.
    ``hashes``: rows are hashed next, which may as well be done while they are read. ``as_json``: a
    column that is text even where it has lists.

    Raises StageFailure(Input…, DuplicateColumns, ColumnNotFound, InvalidSpec)."""
    notes, scratch = notes or Notes(), scratch or Scratch()
    found = found or find(source)
    try:
        try:
            return _read(engine, source, found, notes, scratch, hashes, as_json, native=("gzip",))
        except StageFailure as failure:
            # Such as one that is padded with zeros, which gzip leaves out.
            packed = any(packing_of(file) == "gzip" for file in found.files)
            if failure.reason != "StorageFailed" or not packed:
                raise
            return _read(engine, source, found, notes, scratch, hashes, as_json, native=())
    except StageFailure as failure:
        raise StageFailure(failure.reason, scratch.named(failure.message)) from failure


def _read(
    engine: Engine,
    source: Input,
    found: Source,
    notes: Notes,
    scratch: Scratch,
    hashes: bool,
    as_json: str | None,
    native: Sequence[str],
) -> Frame:
    wanted = wanted_columns(source)
    if source.format == "parquet":
        frame = read_parquet(engine, found, notes, wanted, as_json)
        return conformed(engine, frame, wanted, found.uri)
    if source.format == "orc":
        frame = read_orc(engine, found, notes, wanted, as_json)
        return conformed(engine, frame, wanted, found.uri)
    texts, lines = source.format == "text", source.documents == "lines"
    refuse_others(found, pages=texts)
    # Of a document in a file the size must be known.
    found = unpacked(found, scratch, native=native if lines or not texts else ())
    if texts:
        found = without_marks(found, scratch)
        frame = read_documents(engine, found, notes, lines=lines)
        return conformed(engine, frame, wanted, found.uri)
    if source.format == "json":
        found = without_marks(found, scratch)
        frame = read_json(engine, found, notes, wanted, as_json)
        return conformed(engine, frame, wanted, found.uri)
    options = source.options or CsvOptions()
    found = in_utf8(found, options.encoding, scratch)
    refuse_others(found, table=True)
    return read_csv(engine, found, options, notes, wanted, source.time_zone, scratch, hashes=hashes)
