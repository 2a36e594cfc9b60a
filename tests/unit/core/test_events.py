"""Events: once for each transition, under the same name when told again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.core.world import RESULTS, World, at, disrupted, ended, failed, succeeded, world
from trainingjob.api.v1alpha1 import Status
from trainingjob.core import Blocker, events


def told(before: Status, made: World) -> list[dict[str, Any]]:
    job = made.observe().job
    return events(job, before, job.status, at(made.seconds))


def step(made: World, act: Callable[[], Any]) -> list[tuple[str, str]]:
    before = made.observe().job.status
    act()
    return [(event["type"], event["reason"]) for event in told(before, made)]


def app_failure(pod: dict[str, Any], seconds: float) -> None:
    failed(pod, seconds, "ScriptFailed")


def data_failure(pod: dict[str, Any], seconds: float) -> None:
    failed(pod, seconds, "InputNotFound")


@pytest.mark.parametrize(
    ("what", "fates", "expected"),
    [
        ("a stage that went well has none", [("preprocess", succeeded)], []),
        (
            "nor has a job that did",
            [("preprocess", succeeded), ("train", succeeded), ("evaluate", succeeded)],
            [],
        ),
        ("a failure that is retried", [("preprocess", app_failure)], [("Warning", "ScriptFailed")]),
        ("an interruption", [("preprocess", disrupted)], [("Warning", "Disrupted")]),
        ("a final failure, once", [("preprocess", data_failure)], [("Warning", "InputNotFound")]),
    ],
)
def test_what_is_told(
    what: str, fates: list[tuple[str, Any]], expected: list[tuple[str, str]]
) -> None:
    made = world()
    for stage, fate in fates[:-1]:
        made.finish(stage, fate)
    stage, fate = fates[-1]

    assert step(made, lambda: made.finish(stage, fate)) == expected


def test_what_keeps_pods_from_being_made_is_told_once() -> None:
    made = World()
    made.blockers = (Blocker("digits-preprocess-1-0", "QuotaExceeded", "exceeded quota"),)
    made.create = lambda child: None  # type: ignore[method-assign]

    assert step(made, made.reconcile) == [("Warning", "QuotaExceeded")]
    assert step(made, made.reconcile) == []


def test_told_twice_it_has_the_same_name_and_another_transition_another() -> None:
    made = world()
    before = made.observe().job.status
    made.finish("preprocess", app_failure)
    once, again = told(before, made), told(before, made)
    middle = made.observe().job.status
    made.finish("preprocess", app_failure)

    names = {event["metadata"]["name"] for event in [*once, *again]}
    assert len(names) == 1
    assert told(middle, made)[0]["metadata"]["name"] not in names


def test_an_event_is_about_the_job_and_within_its_bounds() -> None:
    made = world()
    before = made.observe().job.status

    def verbose(pod: dict[str, Any], seconds: float) -> None:
        failed(pod, seconds, "ScriptFailed", message="x" * 2000)

    made.finish("preprocess", verbose)
    (event,) = told(before, made)

    assert event["involvedObject"]["uid"] == "uid-1"
    assert event["metadata"]["namespace"] == "team"
    assert len(event["message"]) <= 1024


def test_what_a_stage_warns_of_is_told_once() -> None:
    made = world()
    outputs = {
        **RESULTS["preprocess"]["outputs"],
        "warnings": [{"reason": "LabelLeaked", "message": "x tells y"}],
    }

    def warned(pod: dict[str, Any], seconds: float) -> None:
        ended(pod, seconds, message=json.dumps({"result": {"outputs": outputs}}))

    before = made.observe().job.status
    made.finish("preprocess", warned)
    (event,) = told(before, made)
    assert (event["type"], event["reason"]) == ("Warning", "StageWarnings")
    assert event["message"] == "preprocess: x tells y"
    assert step(made, made.reconcile) == []
