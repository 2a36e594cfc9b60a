"""How long a change of the status waits."""

from __future__ import annotations

import pytest

from tests.unit.core.world import World, running, world
from trainingjob.api.v1alpha1 import Progress, Status
from trainingjob.controller.pace import Pace


def started() -> tuple[World, Status]:
    made = world()
    return made, made.observe().job.status


def progress(status: Status, percent: int) -> Status:
    told = Progress(stage="preprocess", percent=percent)
    return status.model_copy(update={"progress": told})


def pods_run(status: Status) -> Status:
    made = world()
    for pod in made.of("preprocess"):
        running(pod, 1)
    made.settle()
    return made.observe().job.status


def stage_ends(status: Status) -> Status:
    made = world()
    made.finish("preprocess")
    return made.observe().job.status


@pytest.mark.parametrize(
    ("what", "change", "since_last_write", "wait"),
    [
        ("no change is not written", lambda s: s, 100, None),
        ("the end of a stage is written at once", stage_ends, 0, 0),
        ("pods that start wait up to a second", pods_run, 0.25, 0.75),
        ("and half a second for others of their gang", pods_run, 3, 0.5),
        ("progress alone waits up to five", lambda s: progress(s, 7), 1, 4),
        ("and no longer than for company", lambda s: progress(s, 7), 30, 0.5),
    ],
)
def test_turns_are_written_at_once_and_lesser_changes_wait(
    what: str, change: object, since_last_write: float, wait: float | None
) -> None:
    _, before = started()
    pace = Pace()
    pace.written(1000)

    assert callable(change)
    assert pace.wait(before, change(before), 1000 + since_last_write) == wait


def test_that_a_job_has_begun_is_told_with_what_has_become_of_it_within_a_second() -> None:
    _, first = started()
    pace = Pace()

    assert pace.wait(Status(), first, 100) == 1
    assert pace.wait(Status(), pods_run(first), 100.25) == 0.75
    assert pace.wait(Status(), pods_run(first), 101) == 0


@pytest.mark.parametrize(
    "amiss",
    [
        {"reason": "QuotaExceeded"},
        {"phase": "Suspended", "reason": "Suspended"},
        {"phase": "Succeeded", "reason": "Completed"},
        {"phase": "Failed", "reason": "SpecTooLarge"},
    ],
)
def test_anything_else_that_is_told_first_is_told_at_once(amiss: dict[str, str]) -> None:
    _, first = started()

    assert Pace().wait(Status(), first.model_copy(update=amiss), 0) == 0


def test_what_has_waited_for_company_is_written_together_with_it() -> None:
    _, before = started()
    pace = Pace()
    pace.written(0)

    assert pace.wait(before, progress(before, 7), 100) == 0.5
    assert pace.wait(before, pods_run(before), 100.25) == 0.25
    assert pace.wait(before, pods_run(before), 100.5) == 0
    pace.written(100.5)
    assert pace.wait(before, before, 100.6) is None
