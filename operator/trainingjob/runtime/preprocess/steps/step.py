"""What all steps share: where they are, and how they write a new view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.reasons import ReasonName

from ...base.errors import StageFailure
from ..account import Account, Tally
from ..engines.frame import SPLIT, TRAIN, Engine, Frame, Unread
from ..expressions.dialect import Dialect
from ..expressions.many import FEW, Same, select
from ..names import column_not_found, refuse_duplicates

# What a step learned from the training split: JSON for the dataset's manifest.
Fitted = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """The step at work. ``text`` begins its messages: "step 3 (scale)"."""

    engine: Engine
    label: str
    text: str
    account: Account
    by_class: bool = False  # whether the task is classification
    weight: str | None = None  # train.sampleWeight
    tables: Mapping[str, Frame] = field(default_factory=dict)  # of ``preprocess.inputs``

    @property
    def apart(self) -> tuple[str | None, ...]:
        """The columns that are no features: no step takes one of them that is not named."""
        return self.label, self.weight

    @property
    def dialect(self) -> Dialect:
        """How the engine spells SQL."""
        return self.engine.dialect

    def require(self, frame: Frame, names: Iterable[str]) -> None:
        """Raises StageFailure(ColumnNotFound) for the first name that is no column."""
        for name in names:
            if name not in frame.columns:
                raise column_not_found(self.text, name, list(frame.columns), frame.unread)

    def failure(self, message: str, reason: ReasonName = "StepFailed") -> StageFailure:
        """A failure of this step."""
        return StageFailure(reason, f"{self.text}: {message}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Put the step's name before the messages of the engine's failures."""
        try:
            yield
        except StageFailure as failure:
            if failure.message.startswith(self.text):
                raise
            raise self.failure(failure.message, failure.reason) from failure

    def project(
        self,
        frame: Frame,
        columns: Mapping[str, tuple[str | Same, ColumnType]],
        *,
        source: str | None = None,
        where: str = "",
    ) -> Frame:
        """A frame with these columns, each an SQL expression and its type; hidden ones stay.

        ``source`` replaces the frame's view in FROM, for joins."""
        refuse_duplicates(self.text, list(columns))
        values = {name: sql for name, (sql, _) in columns.items()}
        query = select(self.dialect, values, frame.hidden, source or frame.view, where)
        kinds = {name: kind for name, (_, kind) in columns.items()}
        made = frame.over(self.engine.view(query, wide=len(columns) > FEW), kinds)
        if source is None:
            self.account.projected(made, columns, where)
        else:
            self.account.replaced(made, same_rows=True)
            made = replace(made, kept=False, most=None)
        return made

    def leave_out(self, unread: Mapping[str, Unread], what: str = "") -> None:
        """Warn of columns that go here since nothing can hold them, though nobody said so."""
        for name, why in unread.items():
            message = f"{self.text}: column {name} {what}is left out: it {why.why}"
            self.account.notes.warn("ColumnLeftOut", message)

    def watch(self, frame: Frame, tallies: Sequence[Tally]) -> None:
        """Count what becomes of values of the frame that the step is given, or has made."""
        self.account.watch(frame, tallies)

    def replace(self, frame: Frame, changed: Mapping[str, tuple[str | Same, ColumnType]]) -> Frame:
        """The frame with some columns computed anew, in their places, or added at the end."""
        return self.project(frame, {**self.unchanged(frame), **changed})

    def unchanged(self, frame: Frame) -> dict[str, tuple[str, ColumnType]]:
        """Every column as it is."""
        return {name: (self.dialect.ident(name), kind) for name, kind in frame.columns.items()}

    @property
    def train(self) -> str:
        """The condition for rows of the training split."""
        return f"{SPLIT} = {TRAIN}"
