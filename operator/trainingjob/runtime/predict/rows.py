"""Rows of files to predictions, some at a time and in their order: for the stage and for
`trainingjob predict` alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.input import Input

from ..base.errors import StageFailure
from ..base.text import listed, one_line
from ..dataset.classes import written
from ..preprocess.engines.duckdb import DuckdbEngine
from ..preprocess.engines.frame import Frame
from ..preprocess.fitted.columns import ARROW
from ..preprocess.input.files import Source, find
from ..preprocess.input.read import read_input
from ..preprocess.input.scratch import Scratch
from ..preprocess.names import no_column
from ..preprocess.notes import Notes
from ..serve.protocol import PREDICTION, values_of
from ..serve.served import Answers, BadRow, Served

ROWS = 16_384
# Why a row has no prediction.
ERROR = "prediction_error"
# Columns whose types a manifest's schema may give.
_MOST_TYPES = 4096

Unpredictable = Literal["fail", "null"]
# Of the files that are read, before their columns were looked at.
Stamps = Mapping[Path, tuple[int, ...]]


@dataclass
class Rows:
    """The rows of an input before a model. ``keep``: their columns that stand beside the
    predictions; ``unused``: those that neither the model nor anybody else looks at; ``total``: how
    many rows there are, where reading has counted them."""

    served: Served
    keep: Sequence[str]
    unused: Sequence[str]
    unpredictable: Unpredictable
    _engine: DuckdbEngine
    _frame: Frame
    _stamps: Stamps
    total: int | None
    # So far.
    predicted: int = 0
    unpredicted: int = 0
    first_words: str = ""  # about the first row that was not predicted

    @property
    def done(self) -> int:
        """How many have been given so far."""
        return self.predicted + self.unpredicted

    def tables(self) -> Iterator[pa.Table]:
        """The predictions: all tables are of one schema.

        Raises StageFailure(StepFailed) for a row of which the model makes nothing, unless such
        rows are null; StorageFailed for a file that has changed since its columns were looked at,
        whatever that came to; and those of reading an input."""
        try:
            yield from self._tables()
        except StageFailure:
            self._refuse_changed()
            raise
        self._refuse_changed()

    def _refuse_changed(self) -> None:
        for file, stamp in self._stamps.items():
            if _stamp(file) != stamp:
                raise StageFailure(
                    "StorageFailed",
                    f"{file} was changed while its rows were predicted: write a file anew under "
                    "another name, and rename it when it is whole",
                )

    def _tables(self) -> Iterator[pa.Table]:
        query, width = self._query()
        needed = len(self.served.inputs)
        for batch in self._engine.batches(query, width):
            for start in range(0, batch.num_rows, ROWS):
                part = batch.slice(start, ROWS)
                columns = dict(zip(self.served.inputs, part.columns, strict=False))
                kept = dict(zip(self.keep, part.columns[needed:], strict=True))
                yield self._table(columns, part.num_rows, kept)

    def _query(self) -> tuple[str, int]:
        dialect, columns = self._engine.dialect, self._frame.columns
        selected = [
            dialect.ident(name)
            if columns[name] == kind or (columns[name], kind) == ("double", "bigint")
            else dialect.cast(dialect.ident(name), columns[name], kind)
            for name, kind in self.served.inputs.items()
        ]
        selected += [dialect.ident(name) for name in self.keep]
        named = (f"{column} AS c{at}" for at, column in enumerate(selected))
        return f"SELECT {', '.join(named)} FROM {self._frame.view}", len(selected)

    def _table(
        self, columns: Mapping[str, pa.Array], rows: int, kept: Mapping[str, pa.Array]
    ) -> pa.Table:
        before = self.done
        errors: dict[int, str] = {}
        try:
            answers = _answers(self.served, columns)
        except BadRow as error:
            if self.unpredictable == "fail":
                row, words = _first_bad(self.served, columns, rows, str(error))
                raise StageFailure("StepFailed", f"row {before + row + 1}: {words}") from error
            answers, errors = _as_many_as_can_be(self.served, columns, rows)
        if errors and not self.first_words:
            row, words = min(errors.items())
            self.first_words = f"row {before + row + 1}: {words}"
        self.predicted += rows - len(errors)
        self.unpredicted += len(errors)
        return self._made(answers, errors, rows, kept)

    def _made(
        self, answers: Answers, errors: Mapping[int, str], rows: int, kept: Mapping[str, pa.Array]
    ) -> pa.Table:
        nothing = np.isin(np.arange(rows), [*errors])
        classes = self.served.classes
        kind = pa.float64() if classes is None else pa.array(classes).type
        values = values_of(answers, self.served)
        found: dict[str, Any] = {**kept, PREDICTION: pa.array(values, type=kind, mask=nothing)}
        if answers.scores is not None:
            for place, name in enumerate(scores_of(self.served)):
                scores = np.ascontiguousarray(answers.scores[:, place])
                found[name] = pa.array(scores, mask=nothing)
        if self.unpredictable == "null":
            found[ERROR] = pa.array([errors.get(row) for row in range(rows)], type=pa.string())
        return pa.table(found)


@contextmanager
def opened(
    served: Served,
    source: Input,
    keep: Sequence[str] | None,
    unpredictable: Unpredictable = "fail",
    notes: Notes | None = None,
) -> Iterator[Rows]:
    """The rows of files, for a model that has proved itself. ``keep``: all columns when None.

    Raises StageFailure: SettingUnsuitable, ColumnNotFound, and those of reading an input."""
    _refuse_taken(keep or (), served, unpredictable)
    notes = notes or Notes()
    with DuckdbEngine() as engine, Scratch() as scratch:
        engine.run("SET preserve_insertion_order = true")
        engine.run("SET threads = 1")  # of several files, more give them in any order
        found = find(source)
        stamps = {file: _stamp(file) for file in found.files}
        frame = _read(engine, served, source, found, keep, scratch, notes)
        for names in (served.inputs, keep or ()):
            _refuse_unknown(frame, [*names], source.uri)
        if keep is None:
            _refuse_taken([*frame.columns], served, unpredictable)
        kept = [*frame.columns] if keep is None else [*keep]
        known = {*served.inputs, *served.ignored, *kept}
        unused = [name for name in frame.columns if name not in known]
        yield Rows(served, kept, unused, unpredictable, engine, frame, stamps, notes.rows)


def scores_of(served: Served) -> list[str]:
    """The columns of what classes score."""
    return [f"probability_{written(value)[-1]}" for value in served.classes or ()]


def _read(
    engine: DuckdbEngine,
    served: Served,
    source: Input,
    found: Source,
    keep: Sequence[str] | None,
    scratch: Scratch,
    notes: Notes,
) -> Frame:
    """What the model needs is of the types that it was trained with, whatever it looks like."""
    wanted = None if keep is None else {*served.inputs, *keep}
    given = {n: k for n, k in (source.types or {}).items() if wanted is None or n in wanted}
    types = given | served.inputs
    formats = {n: f for n, f in (source.date_formats or {}).items() if not wanted or n in wanted}
    asked = source.model_copy(
        update={
            "types": types if types and len(types) <= _MOST_TYPES else None,
            "date_formats": formats or None,
        }
    )

    def read(**changes: Any) -> Frame:
        changed = asked.model_copy(update=changes)
        return read_input(engine, changed, found, notes, scratch)

    try:
        return read()
    except StageFailure as failure:
        if failure.reason == "ColumnNotFound":
            # Which columns there are is told in words that fit.
            frame = read(types=None, date_formats=None)
            _refuse_unknown(frame, [*dict.fromkeys([*types, *formats])], source.uri)
        wide = {n: "double" for n, kind in served.inputs.items() if kind == "bigint"}
        if failure.reason == "InputMalformed" and asked.types and wide:
            # As pandas writes whole numbers of a column that has nulls: 1.0
            frame = read(types=types | wide)
            _refuse_not_whole(engine, frame, wide, source.uri)
            return frame
        raise


def _refuse_not_whole(engine: DuckdbEngine, frame: Frame, names: Iterable[str], uri: str) -> None:
    """Raises StageFailure(InputMalformed) where columns of doubles have what no bigint is."""
    for name in names:
        numbered = f"SELECT row_number() OVER () AS row, {engine.dialect.ident(name)} AS value"
        found = engine.rows(
            f"SELECT row, value FROM ({numbered} FROM {frame.view}) WHERE value IS NOT NULL "
            "AND TRY_CAST(value AS BIGINT) IS DISTINCT FROM value LIMIT 1"
        )
        for row, value in found:
            raise StageFailure(
                "InputMalformed",
                f"{uri}: row {row}: {name}: {value} is no bigint, which the values of the column "
                "are that the model was trained on",
            )


def _stamp(file: Path) -> tuple[int, ...]:
    """What changes when the file does; empty when it is gone."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _refuse_unknown(frame: Frame, names: Sequence[str], uri: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        words = no_column(missing[0], list(frame.columns))
        if len(missing) > 1:
            words = f"there are no columns {listed(missing)} (columns: {listed(frame.columns)})"
        raise StageFailure("ColumnNotFound", f"{uri}: {words}")


def _refuse_taken(keep: Sequence[str], served: Served, unpredictable: Unpredictable) -> None:
    taken = {PREDICTION, *scores_of(served), *([ERROR] if unpredictable == "null" else [])}
    for name in keep:
        if name in taken:
            raise StageFailure(
                "SettingUnsuitable",
                f"column {name} cannot be kept: the predictions have a column of that name",
            )


def _answers(served: Served, columns: Mapping[str, pa.Array]) -> Answers:
    return served.answers(_typed(served, columns))


def _typed(served: Served, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    typed = {}
    for name, kind in served.inputs.items():
        try:
            typed[name] = columns[name].cast(ARROW[kind])
        except pa.ArrowInvalid as error:
            raise BadRow(f"{name} is no {kind}: {one_line(error)}") from error
    return typed


def _first_bad(
    served: Served, columns: Mapping[str, pa.Array], rows: int, words: str
) -> tuple[int, str]:
    """The first row, from 0, of which the model makes nothing, and why."""
    start, stop = 0, rows
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            _answers(served, _of(columns, start, middle))
            start = middle
        except BadRow:
            stop = middle
    try:
        _answers(served, _of(columns, start, start + 1))
    except BadRow as error:
        words = str(error)
    return start, words


def _as_many_as_can_be(
    served: Served, columns: Mapping[str, pa.Array], rows: int
) -> tuple[Answers, dict[int, str]]:
    """What the model gives for the rows of which it makes something; the others by their number,
    from 0, with the reason, and anything in their place."""
    try:
        errors = served.gaps(_typed(served, columns))  # all at once: there may be many
    except BadRow:
        errors = {}
    rest = np.setdiff1d(np.arange(rows), [*errors]).astype(np.int64)
    columns = {name: column.take(pa.array(rest)) for name, column in columns.items()}
    classes = served.classes
    predicted = np.zeros(rows, np.float64 if classes is None else np.int64)
    scores: np.ndarray | None = None
    parts = [(0, len(rest))]
    while parts:
        start, stop = parts.pop()
        if start == stop:
            continue
        try:
            answers = _answers(served, _of(columns, start, stop))
        except BadRow as error:
            if stop - start == 1:
                errors[int(rest[start])] = str(error)
            else:
                middle = (start + stop) // 2
                parts += [(middle, stop), (start, middle)]
            continue
        predicted[rest[start:stop]] = answers.predicted
        if answers.scores is not None:
            if scores is None:
                scores = np.zeros((rows, answers.scores.shape[1]))
            scores[rest[start:stop]] = answers.scores
    if scores is None and classes is not None:
        scores = np.zeros((rows, len(classes)))
    return Answers(predicted, scores), errors


def _of(columns: Mapping[str, pa.Array], start: int, stop: int) -> dict[str, pa.Array]:
    return {name: column.slice(start, stop - start) for name, column in columns.items()}
