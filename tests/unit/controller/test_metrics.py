"""What the step from one status to the next adds to the metrics."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import LastFailure, StageStatus, Status
from trainingjob.api.v1alpha1.status import Usage
from trainingjob.controller.metrics import Metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USAGE = Usage(
    gpu_seconds=10,
    failed_gpu_seconds=4,
    lost_gpu_seconds=3,
    cpu_seconds=20,
    memory_gib_seconds=30,
    waiting_seconds=5,
)


def status(reason: str = "Running", usage: Usage | None = None, **more: Any) -> Status:
    stage = StageStatus(name="train", phase="Running", reason=reason, usage=usage)
    return Status(phase="Training", stages=[stage], **more)


def failed(attempt: int) -> LastFailure:
    return LastFailure.model_validate(
        {
            "stage": "train",
            "attempt": attempt,
            "class": "infrastructure",
            "reason": "NoProgress",
            "message": "nothing new",
            "time": NOW,
        }
    )


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"trainingjob_{name}_total", labels) or 0.0


def test_usage_is_added_up_as_attempts_end() -> None:
    metrics = Metrics()
    doubled = Usage(**{name: 2 * amount for name, amount in USAGE.model_dump().items()})
    for before, after in ((None, USAGE), (USAGE, USAGE), (USAGE, doubled)):
        metrics.progressed(status(usage=before), status(usage=after))
    assert value(metrics, "gpu_seconds", stage="train", outcome="succeeded") == 12
    assert value(metrics, "gpu_seconds", stage="train", outcome="failed") == 8
    for name in ("lost_gpu_seconds", "cpu_seconds", "memory_gib_seconds", "waiting_seconds"):
        assert value(metrics, name, stage="train") == 2 * getattr(USAGE, name)


@pytest.mark.parametrize(
    ("steps", "stalls"),
    [
        pytest.param([status(), status()], 0, id="all is well"),
        pytest.param([status(), status("NoProgress"), status("NoProgress")], 1, id="told once"),
        pytest.param(
            [status(), status("NoProgress"), status(), status("NoProgress")], 2, id="twice"
        ),
        pytest.param(
            [status(), status(last_failure=failed(1)), status(last_failure=failed(1))],
            1,
            id="restarted",
        ),
        pytest.param(
            [status(last_failure=failed(1)), status(last_failure=failed(2))],
            1,
            id="restarted again",
        ),
    ],
)
def test_stalls_are_counted(steps: list[Status], stalls: int) -> None:
    metrics = Metrics()
    for before, after in itertools.pairwise(steps):
        metrics.progressed(before, after)
    assert value(metrics, "stalls") == stalls
