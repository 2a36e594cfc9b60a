"""Dividing the rows: exact shares, by a seeded hash of the content."""

from __future__ import annotations

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.preprocess import Split

from ..errors import StageFailure
from .frame import Engine, Frame, Quota
from .names import listed


def split_rows(engine: Engine, frame: Frame, spec: Split, task: Task, where: str) -> Frame:
    """Rows in the order of their hash: the first share is the test split, the next the validation
    split, the rest is for training; with ``stratify`` so in each class.

    Equal rows have equal hashes: which of them goes where does not matter. Raises
    StageFailure(LabelMissing) when the label to stratify by is not there at this point."""
    by = task.label if spec.stratify else None
    if by is not None and by not in frame.columns:
        raise StageFailure(
            "LabelMissing",
            f"{where}: rows are divided here, by the label {by}, which is not a column yet "
            f"(columns: {listed(frame.columns)})",
        )
    return engine.split(frame, spec.seed, by, lambda rows: _quota(rows, spec))


def _quota(rows: int, spec: Split) -> Quota:
    test = int(rows * spec.test + 0.5)
    return Quota(test, min(int(rows * spec.validation + 0.5), rows - test))
