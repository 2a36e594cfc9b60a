"""Texts by themselves: a document a file, or a line, in the column ``text``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from trainingjob.api.v1alpha1.input import TEXT

from ...base.errors import StageFailure
from ..engines.frame import Engine, Frame
from ..notes import Notes
from .called import field
from .files import Source, check_utf8, readable
from .packing import open_bytes
from .together import Part, together

# Bytes of a text: its tokens take thirty times as much memory.
LONGEST_BYTES = 16 * 2**20
SCHEMA = pa.schema([pa.field(TEXT, pa.string())])
# Of texts in a batch.
_BATCH_BYTES = 4 * 2**20
# Of a file, in which the ends of its lines are looked for.


def read_documents(engine: Engine, source: Source, notes: Notes, *, lines: bool) -> Frame:
    """A row for each file, or for each of its ``lines``, and the columns of partitions.

    Raises StageFailure(InputEmpty, InputNotUtf8, TextInvalid, DuplicateColumns)."""
    files = [file for file in source.files if file.stat().st_size]
    if not files:
        raise StageFailure("InputEmpty", f"{source.uri}: the files are empty")
    if empty := source.empty + len(source.files) - len(files):
        total = source.empty + len(source.files)
        words = f"{empty} of {total} files are empty, and no documents"
        notes.warn("FilesEmpty", f"{source.uri}: {words}")
    source = source.part(files)
    for file in files:
        _refuse_long(file, lines=lines)
        if lines:
            _refuse_carriage_returns(file)
    parts = [Part(part, engine.read_text(part, lines=lines), SCHEMA) for part in source.parts()]
    frame = together(engine, source, parts, notes)
    ((notes.rows,),) = engine.rows(f"SELECT count(*) FROM {frame.view}")
    return frame


def batches(source: Source, *, lines: bool) -> Iterator[pa.RecordBatch]:
    """The texts of files that may be packed, in memory a few at a time.

    Raises StageFailure(InputNotUtf8, TextInvalid, InputUnreadable)."""
    texts: list[str] = []
    held = 0
    for file in source.files:
        for data in _documents(file, lines=lines):
            try:
                texts.append(data.decode())
            except UnicodeDecodeError as error:
                check_utf8(file)
                raise StageFailure("InputNotUtf8", f"{file} is not UTF-8: {error}") from error
            held += len(data)
            if held >= _BATCH_BYTES:
                yield _batch(texts)
                texts, held = [], 0
    yield _batch(texts)


def _batch(texts: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], schema=SCHEMA)


def _documents(file: Path, *, lines: bool) -> Iterator[bytes]:
    with readable(file), open_bytes(file) as stream:
        if not lines:
            yield stream.read()  # its size was looked at
            return
        for number in itertools.count(1):
            line = stream.readline(LONGEST_BYTES + 2)
            if not line:
                return
            # As Spark has it, whose ends of lines we name: a carriage return before is part of it.
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            _check_line(file, number, text)
            yield text


def _refuse_long(file: Path, *, lines: bool) -> None:
    """Before an engine has all of it in memory."""
    size = file.stat().st_size
    if size <= LONGEST_BYTES:
        return
    if not lines:
        raise StageFailure(
            "TextInvalid",
            f"{file} has {size} bytes, and a document has at most {LONGEST_BYTES}: divide it or, "
            f"where each of its lines is a document, set {field('documents')}: lines",
        )
    with readable(file), open_bytes(file) as stream:
        _check_line(file, 1, stream.readline(LONGEST_BYTES + 2).rstrip(b"\r\n"))


def _refuse_carriage_returns(file: Path) -> None:
    """Lines that end with these alone, as on old Macs, would be one line."""
    with readable(file), open_bytes(file) as stream:
        begin = stream.readline(LONGEST_BYTES + 2)
    if not begin.endswith(b"\n") and (count := begin.rstrip(b"\r").count(b"\r")):
        raise StageFailure(
            "TextInvalid",
            f"{file} has no line feed in its first {len(begin)} bytes, and {count} carriage "
            "returns: end its lines with line feeds, as `tr '\\r' '\\n'` does, or unset "
            f"{field('documents')} to have the file as one document",
        )


def _check_line(file: Path, number: int, text: bytes) -> None:
    if len(text) > LONGEST_BYTES:
        raise StageFailure(
            "TextInvalid",
            f"{file}, line {number} has more than {LONGEST_BYTES} bytes, the most of a document: "
            "divide it into lines",
        )
