"""What pods report while they run: from the wire format to status, and which report counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from ..api.payload import ProgressReport, TrainerStatus
from ..api.v1alpha1 import MetricValue, Progress, StageName
from . import text

_MOST_METRICS = 32
_LONGEST_NAME = 128
# Of a count, which every reader of JSON keeps as it is.
_LARGEST = 2**53
# Metrics that are counts, by the names that reports have: ours, and those of transformers'
# KubeflowCallback.
_COUNTS = {
    "fold": "fold",
    "epoch": "epoch",
    "current_epoch": "epoch",
    "step": "step",
    "current_step": "step",
    "total_steps": "total_steps",
    "rows": "rows",
    "total_rows": "total_rows",
    "checkpoint_step": "checkpoint_step",
}


@dataclass(frozen=True)
class Reported:
    """The newest report of a stage's attempt, and the last complete checkpoint by it."""

    attempt: int
    index: int
    progress: Progress
    checkpoint_step: int | None = None


def reported(
    report: ProgressReport, stage: str, attempt: int, index: int, now: datetime
) -> Reported:
    """From the wire format, whose metric values are text: those of the names above become fields,
    and what is no finite number is dropped. ``now`` is when it was heard: people compare it with
    our clock, not with the pod's. Raises ValueError when ``stage`` is none.
    """
    wire = report.trainer_status
    values = _numbers(wire)
    counts = {
        field: max(0, min(_LARGEST, int(values.pop(name))))
        for name, field in _COUNTS.items()
        if name in values
    }
    eta = wire.estimated_remaining_seconds
    return Reported(
        attempt=attempt,
        index=index,
        checkpoint_step=counts.pop("checkpoint_step", None),
        progress=Progress(
            stage=TypeAdapter(StageName).validate_python(stage),
            percent=max(0, min(100, wire.progress_percentage or 0)),
            eta_seconds=None if eta is None else max(0, min(_LARGEST, eta)),
            metrics=[
                MetricValue(name=name, value=value)
                for name, value in list(values.items())[:_MOST_METRICS]
            ],
            updated_time=now,
            **counts,
        ),
    )


def newest(before: Reported | None, report: Reported) -> Reported:
    """Which of two reports of a job counts. Later attempts and stages come later; of the pods that
    report, the first is heard. One with nothing new is no progress: an estimate that runs
    down does not make it some."""
    if before is None or before.progress.stage != report.progress.stage:
        return report
    if (before.attempt, -before.index) > (report.attempt, -report.index):
        return before
    same = _content(before) == _content(report) and before.attempt == report.attempt
    return before if same else report


def _content(report: Reported) -> object:
    silent = {"updated_time": None, "eta_seconds": None}
    return report.progress.model_copy(update=silent), report.checkpoint_step


def _numbers(wire: TrainerStatus) -> dict[str, float]:
    values: dict[str, float] = {}
    for metric in wire.metrics:
        try:
            value = float(metric.value)
        except ValueError:
            continue
        name = text.escaped(metric.name)
        if math.isfinite(value) and len(name) <= _LONGEST_NAME:
            values[name] = value
    return values
