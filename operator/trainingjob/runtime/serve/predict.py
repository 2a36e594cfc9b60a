"""Predictions for the rows of a file: ``python -m trainingjob.runtime.serve.predict``.

Reads a ``Request`` as JSON from standard input. The file is read as preprocess reads its input,
some rows at a time, and its rows keep their order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pydantic import Field

from trainingjob.api.base import Model
from trainingjob.api.payload import ServePayload
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.reasons import remedy_of_accepted

from ..base.errors import StageFailure, from_os_error
from ..base.text import listed, one_line
from ..dataset.classes import written
from ..preprocess.engines.duckdb import DuckdbEngine
from ..preprocess.engines.frame import Frame
from ..preprocess.fitted.columns import ARROW
from ..preprocess.input.read import read_input
from ..preprocess.input.scratch import Scratch
from ..preprocess.names import no_column
from .protocol import PREDICTION, values_of
from .served import Answers, BadRow, Served, load

_ROWS = 16_384
# Columns whose types a manifest's schema may give.
_MOST_TYPES = 4096


class Request(Model):
    """``input``: the file, and how it is written; ``output``: a file of CSV or, by its name, of
    Parquet, standard output when unset; ``keep``: columns of the file that it has, too."""

    model: ServePayload
    input: Input
    output: str | None = None
    keep: list[str] = Field(default_factory=list)


def main() -> int:
    """The process's exit code."""
    request = Request.model_validate_json(sys.stdin.read())
    try:
        rows = predict(request)
    except StageFailure as failure:
        sys.stderr.write(f"{failure.message}; {remedy_of_accepted(failure.reason)}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{from_os_error(error, 'write the predictions').message}\n")
        return 1
    if request.output is not None:
        sys.stderr.write(f"{rows} rows: {request.output}\n")
    return 0


def predict(request: Request) -> int:
    """Write the predictions; of how many rows they are.

    Raises StageFailure: those of loading a model, of reading an input, and StepFailed for a row of
    which the model makes nothing."""
    served = load(request.model)
    with closing(served), DuckdbEngine() as engine, Scratch() as scratch:
        _refuse_taken(request.keep, served)
        served.prove()
        engine.run("SET preserve_insertion_order = true")
        engine.run("SET threads = 1")  # of several files, more give them in any order
        frame = _read(engine, served, request.input, scratch)
        _refuse_unknown(frame, [*served.inputs], request)
        _refuse_unknown(frame, request.keep, request)
        unused = [
            name
            for name in frame.columns
            if name not in served.inputs and name not in served.ignored and name not in request.keep
        ]
        if unused:
            sys.stderr.write(f"not used, as the model has not seen them: {listed(unused)}\n")
        rows = 0
        with _sink(request.output) as sink:
            for table in _tables(engine, frame, served, request.keep):
                sink.write(table)
                rows += table.num_rows
    return rows


def _read(engine: DuckdbEngine, served: Served, source: Input, scratch: Scratch) -> Frame:
    types = dict(served.inputs) if len(served.inputs) <= _MOST_TYPES else None
    formats = {n: f for n, f in (source.date_formats or {}).items() if n in served.inputs}
    asked = source.model_copy(update={"types": types, "date_formats": formats or None})
    try:
        return read_input(engine, asked, scratch=scratch)
    except StageFailure as failure:
        if failure.reason == "ColumnNotFound":
            # Which columns there are is told in words that fit.
            plain: dict[str, Any] = {"types": None, "date_formats": None}
        elif failure.reason == "InputMalformed" and types and "bigint" in types.values():
            # As pandas writes whole numbers of a column that has nulls: 1.0
            plain = {"types": {n: "double" if k == "bigint" else k for n, k in types.items()}}
        else:
            raise
        return read_input(engine, asked.model_copy(update=plain), scratch=scratch)


def _refuse_unknown(frame: Frame, names: Sequence[str], request: Request) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        words = no_column(missing[0], list(frame.columns))
        if len(missing) > 1:
            words = f"there are no columns {listed(missing)} (columns: {listed(frame.columns)})"
        raise StageFailure("ColumnNotFound", f"{request.input.uri}: {words}")


def _refuse_taken(keep: Sequence[str], served: Served) -> None:
    taken = {PREDICTION, *_scores(served)}
    for name in keep:
        if name in taken:
            raise StageFailure(
                "SettingUnsuitable",
                f"column {name} cannot be kept: the predictions have a column of that name",
            )


def _scores(served: Served) -> list[str]:
    """The columns of what classes score."""
    return [f"probability_{written(value)[-1]}" for value in served.classes or ()]


def _tables(
    engine: DuckdbEngine, frame: Frame, served: Served, keep: Sequence[str]
) -> Iterator[pa.Table]:
    """The predictions, some rows at a time."""
    dialect = engine.dialect
    selected = [
        dialect.ident(name)
        if frame.columns[name] == kind or (frame.columns[name], kind) == ("double", "bigint")
        else dialect.cast(dialect.ident(name), frame.columns[name], kind)
        for name, kind in served.inputs.items()
    ] + [dialect.ident(name) for name in keep]
    done = 0
    for batch in engine.batches(f"SELECT {', '.join(selected)} FROM {frame.view}", len(selected)):
        for start in range(0, batch.num_rows, _ROWS):
            part = batch.slice(start, _ROWS)
            columns = dict(zip(served.inputs, part.columns, strict=False))
            try:
                answers = _answers(served, columns)
            except BadRow as error:
                row, words = _first_bad(served, columns, part.num_rows, str(error))
                raise StageFailure("StepFailed", f"row {done + row + 1}: {words}") from error
            kept = {name: part.column(len(served.inputs) + at) for at, name in enumerate(keep)}
            yield _table(answers, served, kept)
            done += part.num_rows


def _answers(served: Served, columns: Mapping[str, pa.Array]) -> Answers:
    typed = {}
    for name, kind in served.inputs.items():
        try:
            typed[name] = columns[name].cast(ARROW[kind])
        except pa.ArrowInvalid as error:
            raise BadRow(f"{name} is no {kind}: {one_line(error)}") from error
    return served.answers(typed)


def _first_bad(
    served: Served, columns: Mapping[str, pa.Array], rows: int, words: str
) -> tuple[int, str]:
    """The first row, from 0, of which the model makes nothing, and why."""
    start, stop = 0, rows
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            _answers(served, {n: c.slice(start, middle - start) for n, c in columns.items()})
            start = middle
        except BadRow:
            stop = middle
    try:
        _answers(served, {n: c.slice(start, 1) for n, c in columns.items()})
    except BadRow as error:
        words = str(error)
    return start, words


def _table(answers: Answers, served: Served, kept: Mapping[str, pa.Array]) -> pa.Table:
    found: dict[str, Any] = {**kept, PREDICTION: pa.array(values_of(answers, served))}
    if answers.scores is not None:
        for place, name in enumerate(_scores(served)):
            found[name] = pa.array(np.ascontiguousarray(answers.scores[:, place]))
    return pa.table(found)


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...


class _File:
    """A file of either format, which is opened when the first rows come."""

    def __init__(self, target: Any, parquet: bool) -> None:
        self._target, self._parquet = target, parquet
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            make = pq.ParquetWriter if self._parquet else pc.CSVWriter
            self._writer = make(self._target, table.schema)
        self._writer.write(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _sink(output: str | None) -> Iterator[_Sink]:
    """Where the predictions go; a file is there when it is whole."""
    if output is None:
        sink = _File(sys.stdout.buffer, parquet=False)
        yield sink
        sink.close()
        return
    target = Path(output)
    aside = target.with_name(f".{target.name}.writing")
    try:
        sink = _File(str(aside), target.suffix.lower() == ".parquet")
        yield sink
        sink.close()
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
