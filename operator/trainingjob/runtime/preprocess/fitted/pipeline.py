"""The steps of a manifest one after the other, as far as the features need them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainingjob.api.base import camel
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import Step

from ...base.errors import StageFailure
from ..steps import KINDS as RUN
from ..steps import kind_of
from .columns import Applied, Columns
from .learned import KINDS
from .sql import Sql

# Steps that make new rows, of many: those that are sent are rows as the last one leaves them.
_OF_MANY_ROWS = ("sql", "join")


def begin_of(steps: Sequence[Step]) -> int:
    """How many of the steps cannot be repeated for rows by themselves, with those before them."""
    many = [at for at, step in enumerate(steps, 1) if kind_of(step) in _OF_MANY_ROWS]
    return many[-1] if many else 0


class Pipeline:
    """Maps raw columns to features, row by row.

    ``given``: all columns that the rows had before step ``begin`` + 1, and their types; ``steps``:
    those of a manifest; ``features``: what is wanted. ``needed``: the raw columns that they are
    made of; all others need not be there. Raises StageFailure for a step that cannot be applied
    here, such as one with SQL that Spark alone has."""

    def __init__(
        self,
        given: Mapping[str, ColumnType],
        steps: Sequence[Mapping[str, Any]],
        features: Iterable[str],
        label: str,
        begin: int = 0,
    ) -> None:
        self._sql = Sql(label)
        try:
            self._steps = self._applied(given, steps, label, begin)
            self.features = tuple(features)
            self._plan, needed = self._needed()
        except BaseException:
            self.close()
            raise
        for name in sorted(needed - set(given)):
            self.close()
            raise StageFailure("ColumnNotFound", f"no step makes the feature {name}")
        self.needed = {name: kind for name, kind in given.items() if name in needed}

    def _applied(
        self,
        given: Mapping[str, ColumnType],
        steps: Sequence[Mapping[str, Any]],
        label: str,
        begin: int,
    ) -> list[Applied]:
        kinds: Mapping[str, ColumnType] = dict(given)
        found = []
        for number, entry in enumerate(steps[begin:], begin + 1):
            step = Step.model_validate(entry["step"])
            name = kind_of(step)
            spec, text = getattr(step, name), f"step {number} ({camel(name)})"
            make = KINDS.get(name)
            try:
                applied = make(spec, entry["fitted"], kinds) if make is not None else None
                if applied is None:
                    applied = self._sql.applied(RUN[name].run, spec, kinds, text, label)
            except (LookupError, ValueError, TypeError) as error:
                raise StageFailure(
                    "StepFailed", f"{text}: what the manifest stores of it does not say: {error}"
                ) from error
            kinds = applied.after(kinds)
            found.append(applied)
        return found

    def _needed(self) -> tuple[list[tuple[Applied, list[str]]], set[str]]:
        """What is wanted of each step, from the features back; and of the rows."""
        needed, plan = set(self.features), []
        for step in reversed(self._steps):
            wanted = [name for name in step.made if name in needed]
            needed.difference_update(wanted)
            needed.update(name for one in wanted for name in step.of[one])
            plan.append((step, wanted))
        return plan[::-1], needed

    def run(self, columns: Columns) -> Columns:
        """The features of rows, all arrays of one length; ``columns`` has those that are needed.

        Raises StageFailure of a step that fails on a value."""
        found = dict(columns)
        for step, wanted in self._plan:
            made = step.run(found, wanted) if wanted else {}
            for name in step.drops:
                found.pop(name, None)
            found |= made
        return {name: found[name] for name in self.features}

    def close(self) -> None:
        """Let go of the engine."""
        self._sql.close()
