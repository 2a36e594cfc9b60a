"""The columns that rows are divided by, carried along from reading on: a step may drop them.

At the division each has the values that it has then; one that is no longer there, those that were
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trainingjob.api.v1alpha1.input import ColumnType

from ..base.errors import StageFailure
from .engines.frame import Engine, Frame
from .names import column_not_found

_HIDDEN = "__trainingjob_key_{}"


@dataclass
class Keys:
    """``of``: the field of ``preprocess.split`` that names the columns; ``hidden``: what they are
    called in a frame."""

    engine: Engine
    of: str
    names: Sequence[str]
    _read: set[str] = field(default_factory=set)

    @property
    def hidden(self) -> list[str]:
        """In the order of the names."""
        return [_HIDDEN.format(index) for index in range(len(self.names))]

    def remember(self, frame: Frame) -> Frame:
        """The frame with those of the columns that it has, hidden as well."""
        self._read = {name for name in self.names if name in frame.columns}
        found = {
            hidden: self.engine.dialect.ident(name)
            for hidden, name in zip(self.hidden, self.names, strict=True)
            if name in self._read
        }
        frame = self._with(frame, found) if found else frame
        if self.of != "files":
            return frame
        # It is a column of ours, that only a script needs to see.
        kept = {name: kind for name, kind in frame.columns.items() if name not in self._read}
        return replace(frame, columns=kept)

    def recall(self, frame: Frame, where: str) -> tuple[Frame, list[ColumnType | None]]:
        """The frame with all of them hidden, and their types; raises StageFailure(ColumnNotFound).

        ``where`` rows are divided."""
        found = {}
        for hidden, name in zip(self.hidden, self.names, strict=True):
            if name in frame.columns:
                found[hidden] = self.engine.dialect.ident(name)
            elif hidden in frame.hidden:
                found[hidden] = hidden
            else:
                place = f"{where}: rows are divided here by preprocess.split.{self.of}"
                failure = column_not_found(place, name, list(frame.columns), frame.unread)
                if name in self._read:
                    failure = StageFailure(
                        failure.reason,
                        f"{failure.message}: an sql step made new rows without it; select it there",
                    )
                raise failure
        frame = self._with(frame, found)
        kinds = dict(self.engine.columns_of(frame.view))
        return frame, [kinds[hidden] for hidden in found]

    def refuse_nulls(self, frame: Frame) -> None:
        """Raises StageFailure(SplitInvalid) for rows that have no key."""
        counts = ", ".join(["count(*)", *(f"count({hidden})" for hidden in self.hidden)])
        ((rows, *known),) = self.engine.rows(f"SELECT {counts} FROM {frame.view}")
        for name, count in zip(self.names, known, strict=True):
            if count < rows:
                raise self.invalid(
                    f"{name} is null in {rows - count} of {rows} rows; fill it, or drop these rows "
                    f"before: `dropna: {{subset: [{name}]}}`"
                )

    def invalid(self, message: str) -> StageFailure:
        """A failure of what the column holds."""
        return StageFailure("SplitInvalid", f"preprocess.split.{self.of}: {message}")

    def _with(self, frame: Frame, found: dict[str, str]) -> Frame:
        kept = [name for name in frame.hidden if name not in found]
        columns = [*(self.engine.dialect.ident(name) for name in frame.columns), *kept]
        columns += [f"{sql} AS {hidden}" for hidden, sql in found.items()]
        view = self.engine.view(f"SELECT {', '.join(columns)} FROM {frame.view}")
        return replace(frame, view=view, hidden=(*kept, *found))
