"""Dividing the rows: exact shares of a random order that is the same everywhere.

Every row has a place in that order, which comes from the row as it was read
(``engines/rowhash.py``): steps that compute, rename or drop columns do not move it, and copies of a
row lie apart. The first share of the places is the test split, the next the validation split, the
rest is for training; with ``stratify`` so in each class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.split import Split
from trainingjob.api.v1alpha1.status import StageWarning

from ..base.errors import StageFailure
from ..base.text import listed
from .classes import (
    MAX_CLASSES,
    Warn,
    absent,
    count_classes,
    named,
    settle,
    too_many_classes,
)
from .engines.frame import HASH, SPLIT, SPLIT_NUMBER, Engine, Frame
from .ranks import beside, class_of, places_of


@dataclass(frozen=True)
class Quota:
    """How many rows of a group go to each split."""

    test: int
    validation: int
    train: int

    @classmethod
    def of(cls, rows: int, spec: Split) -> Quota:
        """Shares to the nearest whole number of rows."""
        test = int(rows * spec.test + 0.5)
        validation = min(int(rows * spec.validation + 0.5), rows - test)
        return cls(test, validation, rows - test - validation)

    def fills(self, spec: Split) -> bool:
        """Whether every split that is asked for gets a row."""
        asked = {"test": spec.test, "validation": spec.validation, "train": 1}
        return all(getattr(self, name) for name, share in asked.items() if share)


def split_rows(
    engine: Engine, frame: Frame, spec: Split, task: Task, where: str, warn: Warn
) -> Frame:
    """The frame with SPLIT; classes that are too rare to be everywhere follow ``spec.rare``.

    Raises StageFailure(LabelMissing) when the label to stratify by is not there at this point,
    and StageFailure(LabelInvalid, ClassMissing)."""
    if spec.stratify and task.label not in frame.columns:
        raise StageFailure(
            "LabelMissing",
            f"{where}: rows are divided here, by the label {task.label}, which is not a column yet "
            f"(columns: {listed(frame.columns)})",
        )
    ordered = engine.ordered(frame, spec.seed)
    divided = _divided(engine, ordered, spec, task, task.label if spec.stratify else None)
    if task.type != "classification" or task.label not in frame.columns:
        return divided
    counts = count_classes(engine, divided, task.label)
    if counts is None:
        return divided  # the checks will tell
    unlucky = [v for v in absent(counts) if Quota.of(sum(counts[v].values()), spec).fills(spec)]
    if unlucky:
        # Common enough to be everywhere, and yet by chance it is not.
        warn(
            StageWarning(
                reason="SplitStratified",
                message=f"by chance a split would have no row of class {named(unlucky)}, so rows "
                "were divided as preprocess.split.stratify does; set it",
            )
        )
        divided = _divided(engine, ordered, spec, task, task.label)
        counts = count_classes(engine, divided, task.label) or {}
    return settle(engine, divided, task, spec, counts, warn, final=False)


def _divided(engine: Engine, frame: Frame, spec: Split, task: Task, by: str | None) -> Frame:
    """The frame with SPLIT, each class of column ``by`` for itself."""
    rows = _rows_by_class(engine, frame, task, by)
    quotas = {value: Quota.of(count, spec) for value, count in rows.items()}
    ranks = {value: (quota.test, quota.test + quota.validation) for value, quota in quotas.items()}
    source, (validation, train) = beside(
        engine, frame, by, places_of(engine, frame, by, rows, ranks)
    )
    columns = ", ".join(f"r.{engine.dialect.ident(name)}" for name in frame.columns)
    view = engine.view(
        f"SELECT {columns}, r.{HASH}, CAST(CASE WHEN r.{HASH} < {validation} "
        f"THEN {SPLIT_NUMBER['test']} WHEN r.{HASH} < {train} THEN {SPLIT_NUMBER['validation']} "
        f"ELSE {SPLIT_NUMBER['train']} END AS TINYINT) AS {SPLIT} FROM {source}"
    )
    return replace(frame, view=view, hidden=(HASH, SPLIT))


def _rows_by_class(engine: Engine, frame: Frame, task: Task, by: str | None) -> dict[Any, int]:
    """Null has a class of its own here; a frame without rows has it, too."""
    assert frame.layout is not None
    if by is None:
        return {None: frame.layout.rows}
    found = engine.rows(
        f"SELECT {class_of(engine, by)}, count(*) FROM {frame.view} AS r "
        f"GROUP BY 1 LIMIT {MAX_CLASSES + 2}"
    )
    if len(found) > MAX_CLASSES + 1:
        raise too_many_classes(task)
    return dict(found) or {None: 0}
