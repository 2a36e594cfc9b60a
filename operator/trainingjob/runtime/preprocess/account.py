"""What every step did to rows, columns and values, counted in few passes over the data.

Steps are views that nothing has computed yet: to count after each one would compute all of them
again and again. Instead a shadow of the frame goes along. It has the same columns, the rows that
steps have dropped as well, and a column for each count that says whether a row adds to it. One
query over the shadow gives all counts at once. A step that makes new rows (of equal ones, of a
query) ends the shadow, and the next one begins with its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from trainingjob.api.v1alpha1.input import ColumnType

from ..base.errors import StageFailure
from .engines.frame import Engine, Frame
from .expressions.typed import Kind
from .names import quoted
from .notes import Notes

# Counts that a single query takes: engines plan wide ones worse than linearly.
_MOST_TALLIES = 100
# Characters of a value that is shown as an example, and of a step's columns how many.
_SAMPLE_CHARS = 40
_FEW = 5
_ALIVE = "trainingjob_alive"

Then = Literal["fail", "warn", "tell"]


@dataclass
class Rows:
    """A number of rows, once it is known."""

    count: int | None = None


@dataclass
class Tally:
    """Values that a step may lose: SQL conditions over a frame, and what follows from the counts.

    ``of``: whether a row has such a value; ``lost``: whether the step loses it, where it has one;
    ``value``: the value, of type ``kind``, or "". ``became``: what becomes of it, in words."""

    name: str
    of: str
    lost: str
    value: str
    kind: Kind
    became: str = "became null"
    reason: str = "ValuesBecameNull"
    when_all: Then = "fail"
    when_some: Then = "warn"
    remedy: str = ""
    # What to do, seeing some of the values.
    advice: Callable[[Sequence[str]], str] | None = None
    # The share from which on to warn.
    warn_from: float = 0.0
    total: int = 0
    count: int = 0
    samples: tuple[str, ...] = ()

    def words(self) -> str:
        """``smoker: 60 of 60 values became null, e.g. "maybe"``."""
        text = f"{self.name}: {self.count} of {self.total} values {self.became}"
        shown = " and ".join(quoted(value, _SAMPLE_CHARS) for value in self.samples)
        return f"{text}, e.g. {shown}" if shown else text

    @property
    def then(self) -> Then:
        """What follows."""
        if not self.count or self.count < self.warn_from * self.total:
            return "tell"
        return self.when_all if self.count == self.total else self.when_some


@dataclass
class Entry:
    """A step's part of the account."""

    step: str
    before: Rows
    after: Rows
    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)

    def line(self) -> str:
        """``step 2 (dropna): 60 -> 40 rows``, and what else it did."""
        before, after = ("?" if r.count is None else r.count for r in (self.before, self.after))
        parts = [f"{after} rows" if self.before is self.after else f"{before} -> {after} rows"]
        for names, sign in ((self.added, "+"), (self.dropped, "-")):
            if names:
                more = f", … ({len(names)} in all)" if len(names) > _FEW else ""
                parts.append(f"{sign} {', '.join(names[:_FEW])}{more}")
        parts += [tally.words() for tally in self.tallies if tally.count]
        return f"{self.step}: {'; '.join(parts)}"


def _text(value: Any) -> str:
    """The same of both engines: only one of them says that times are UTC."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str(value.replace(tzinfo=None))
    return str(value)


class Account:
    """The account of one run: steps tell what they do, ``settle`` counts it."""

    _alive: str

    def __init__(
        self,
        engine: Engine,
        frame: Frame,
        rows: int | None,
        notes: Notes,
        split_drops: bool = False,
    ) -> None:
        """``rows`` of the frame, if they were counted; ``split_drops``: rows may be left out where
        they are divided."""
        self._split_drops = split_drops
        self._engine = engine
        self._notes = notes
        self._rows = Rows(rows)
        self._restart(frame)
        self._told = 0
        self.raw: Frame | None = None  # as it was before values were encoded or scaled
        self.entries = [Entry("input", self._rows, self._rows, list(frame.columns))]

    @property
    def notes(self) -> Notes:
        """Where warnings go."""
        return self._notes

    @property
    def lines(self) -> list[str]:
        """A line for the input and for each step."""
        return [entry.line() for entry in self.entries]

    @property
    def watches(self) -> bool:
        """Whether values are to be counted."""
        return bool(self._tallies)

    # --- what the steps tell ----------------------------------------------------------------

    def begin(self, step: str) -> Entry:
        """A step begins."""
        self.entries.append(Entry(step, self._rows, self._rows))
        return self.entries[-1]

    def end(self, before: Frame, after: Frame) -> None:
        """It is done: which columns are new, and which are gone."""
        entry = self.entries[-1]
        entry.after = self._rows
        entry.added = [name for name in after.columns if name not in before.columns]
        entry.dropped = [name for name in before.columns if name not in after.columns]

    def watch(self, frame: Frame, tallies: Sequence[Tally]) -> None:
        """Count these of the values that the present frame has."""
        self.entries[-1].tallies += tallies
        for start in range(0, len(tallies), _MOST_TALLIES):
            part = tallies[start : start + _MOST_TALLIES]
            if len(self._tallies) + len(part) > _MOST_TALLIES:
                self._count()
            columns = self._all()
            for number, tally in enumerate(part, len(self._tallies)):
                alive = f"{self._alive} AND " if self._alive else ""
                lost = f"{alive}({tally.of}) AND ({tally.lost})"
                # Texts may be long; to make text of numbers would take longer than all the rest.
                value = tally.value or "1"
                if tally.value and tally.kind == "string":
                    value = self._engine.dialect.substring(value, 1, _SAMPLE_CHARS + 1)
                columns += [
                    f"({alive}({tally.of})) AS {_ALIVE}_of_{number}",
                    f"CASE WHEN {lost} THEN {value} END AS {_ALIVE}_lost_{number}",
                ]
                self._carried += [f"{_ALIVE}_of_{number}", f"{_ALIVE}_lost_{number}"]
            self._shadow = self._view(columns)
            self._tallies += part

    def projected(
        self, after: Frame, columns: Mapping[str, tuple[str, ColumnType]], condition: str
    ) -> None:
        """The frame was made of the one before, row by row, without those that do not meet the
        condition, if there is one."""
        self._frame = after
        if not (condition or self._carried):
            self._shadow = after.view
            return
        ident = self._engine.dialect.ident
        selected = [f"{sql} AS {ident(name)}" for name, (sql, _) in columns.items()]
        selected += [*after.hidden, *self._carried]
        if condition:
            alive = f"{self._alive} AND " if self._alive else ""
            self._rows = Rows()
            self._alive = f"{_ALIVE}_{len(self._kept)}"
            self._kept.append((self._rows, self._alive))
            self._carried.append(self._alive)
            selected.append(f"({alive}coalesce(({condition}), FALSE)) AS {self._alive}")
        self._shadow = self._view(selected)

    def replaced(self, after: Frame, *, same_rows: bool = False) -> None:
        """The frame is a new one: of the same number of rows, or of one to be counted."""
        self._count()
        if not same_rows:
            self._rows = Rows()
        self._restart(after)

    def divided(self, after: Frame, words: str = "") -> None:
        """Rows were divided, all of them, as the words say: their number is known."""
        assert after.layout is not None
        if not self._tallies:
            self._rows.count = after.layout.rows
        self._count()
        if self._split_drops or words:
            entry = self.begin(f"split {words}".rstrip())
        if self._split_drops:
            self._rows = entry.after = Rows()
        self._restart(after)

    # --- counting ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Count what is not counted yet, warn of what was lost, and write the log.

        Raises StageFailure(CastLosesValues) for a step that loses all values of a column."""
        self._count()
        for entry in self.entries[self._told :]:
            self._notes.log(entry.line())
        self._told = len(self.entries)

    def _count(self) -> None:
        unknown = [rows for rows, _ in self._kept if rows.count is None]
        unknown += [self._start] if self._start.count is None else []
        tallies = self._tallies
        if tallies or unknown:
            count = "count(CASE WHEN {} THEN 1 END)".format
            counts = [
                "count(*)",
                *(count(alive) for _, alive in self._kept),
                *(count(f"{_ALIVE}_of_{number}") for number in range(len(tallies))),
                *(f"count({_ALIVE}_lost_{number})" for number in range(len(tallies))),
            ]
            found = self._numbers(counts)
            if found:
                rows, found = found[: 1 + len(self._kept)], found[1 + len(self._kept) :]
                for cell, number in zip(
                    (self._start, *(cell for cell, _ in self._kept)), rows, strict=True
                ):
                    cell.count = number
                for number, tally in enumerate(tallies):
                    tally.total, tally.count = found[number], found[len(tallies) + number]
                self._sample(tallies)
        self._restart(self._frame)
        for tally in tallies:
            self._judge(tally)

    def _numbers(self, counts: Sequence[str]) -> Sequence[int]:
        """None of a shadow that fails: it may have computed a row that a step had dropped, and
        where not, the frame itself fails as well."""
        try:
            (found,) = self._engine.rows(f"SELECT {', '.join(counts)} FROM {self._shadow}")
        except StageFailure as failure:
            if failure.reason not in ("StepFailed", "ExpressionInvalid"):
                raise
            return ()
        return found

    def _sample(self, tallies: Sequence[Tally]) -> None:
        """The least and the greatest of the values that were lost: whatever the order of rows."""
        lossy = [(n, tally) for n, tally in enumerate(tallies) if tally.count and tally.value]
        if not lossy:
            return
        columns = ", ".join(
            f"min({_ALIVE}_lost_{number}), max({_ALIVE}_lost_{number})" for number, _ in lossy
        )
        (found,) = self._engine.rows(f"SELECT {columns} FROM {self._shadow}")
        for place, (_, tally) in enumerate(lossy):
            ends = found[2 * place : 2 * place + 2]
            tally.samples = tuple(dict.fromkeys(_text(value) for value in ends))

    def _judge(self, tally: Tally) -> None:
        step = next(e.step for e in reversed(self.entries) if any(t is tally for t in e.tallies))
        remedy = tally.advice(tally.samples) if tally.advice else tally.remedy
        message = f"{step}: {tally.words()}" + (f"; {remedy}" if remedy else "")
        if tally.then == "fail":
            raise StageFailure("CastLosesValues", message)
        if tally.then == "warn":
            self._notes.warn(tally.reason, message)

    # --- the shadow ------------------------------------------------------------------------

    def _restart(self, frame: Frame) -> None:
        self._frame = frame
        self._start = self._rows
        self._shadow = frame.view
        self._alive = ""
        self._kept: list[tuple[Rows, str]] = []
        self._carried: list[str] = []
        self._tallies: list[Tally] = []

    def _all(self) -> list[str]:
        ident = self._engine.dialect.ident
        names = [ident(name) for name in self._frame.columns]
        return [*names, *self._frame.hidden, *self._carried]

    def _view(self, columns: Sequence[str]) -> str:
        return self._engine.view(f"SELECT {', '.join(columns)} FROM {self._shadow}")
