"""Columns that no dataset can hold, and that a job will come to need: told before rows are
divided, which takes the longest."""

from __future__ import annotations

from collections.abc import Sequence

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.steps import Step

from ...dataset.meant import matches
from ..engines.frame import Frame
from ..names import cannot_use


def refuse_unread(frame: Frame, steps: Sequence[Step], task: Task) -> None:
    """Raises StageFailure for a column that is the label or a feature, unless one of these steps
    takes it away, or may put another in its place."""
    left = dict(frame.unread)
    for step in steps:
        if step.select or step.sql or step.join:
            return
        gone = list((step.drop and step.drop.columns) or ())
        gone += step.rename.columns.values() if step.rename else ()
        gone += [step.with_column.name] if step.with_column else ()
        left = {n: why for n, why in left.items() if not any(matches(one, n) for one in gone)}
    if task.label in left:
        raise cannot_use("task.label", task.label, left[task.label])
    for name in left if task.features is None else task.features:
        if name in left:
            where = "the features" if task.features is None else "task.features"
            raise cannot_use(where, name, left[name])
