"""Status is output: what somebody has erased from it or written into it is put right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from trainingjob.core import plan, status

from .world import World, at, failed, running, stamp, world

STAGES = ("preprocess", "train", "evaluate")
Edit = Callable[[dict[str, Any]], Any]


def in_training() -> World:
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    return w


def done(**policy: Any) -> World:
    w = world(policy=policy)
    for stage in STAGES:
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    return w


def refused() -> World:
    w = world()
    for stage in STAGES[:2]:
        w.finish(stage)
    failed(w.of("evaluate")[0], w.seconds, "ModelCorrupt")
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "ModelCorrupt")
    return w


def stage_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["stages"] if one["name"] == name)
    return found


def set_phase(value: str) -> Edit:
    return lambda status: status.update(phase=value)


def set_stage(name: str, **values: Any) -> Edit:
    return lambda status: stage_of(status, name).update(values)


EDITS: dict[str, Edit] = {
    **{
        f"phase {phase}": set_phase(phase)
        for phase in ("Pending", "Training", "Suspended", "Deleting", "Succeeded", "Failed")
    },
    "reason and message": lambda s: s.update(reason="Lies", message="and more of them"),
    "conditions erased": lambda s: s.update(conditions=[]),
    "conditions edited": lambda s: [c.update(status="True") for c in s["conditions"]],
    "a phase and what goes with it": lambda s: s.update(
        phase="Succeeded", reason="Completed", completionTime=stamp(3)
    ),
    "the phase of the stage alone": set_stage("train", phase="Succeeded"),
    "the stage as failed": set_stage("train", phase="Failed", reason="ScriptFailed"),
    "the stage's message": set_stage("train", message="lies", waitingSince=stamp(1)),
    "the stage's counts": set_stage("train", pods={"desired": 0, "ready": 9, "failed": 9}),
}


def settled(w: World) -> dict[str, Any]:
    """The status but for what tells when it was written."""
    w.settle()
    status = copy.deepcopy(w.status)
    for condition in status["conditions"]:
        condition.pop("lastTransitionTime")
    return status


@pytest.mark.parametrize("what", EDITS)
def test_a_job_in_training_goes_on_whatever_somebody_writes(what: str) -> None:
    w = in_training()
    before, pods = settled(w), [*w.pods]
    EDITS[what](w.status)
    assert settled(w) == before
    assert [*w.pods] == pods, "none is deleted, none made"


@pytest.mark.parametrize("make", [done, refused])
@pytest.mark.parametrize("what", [what for what in EDITS if "stage" not in what])
def test_an_end_is_the_end_whatever_somebody_writes(what: str, make: Callable[[], World]) -> None:
    w = make()
    before, created = settled(w), list(w.created)
    EDITS[what](w.status)
    # Each version of it that comes is looked at once.
    w.manifest["status"] = status(w.observe(), at(w.seconds)).to_dict()
    assert settled(w) == before
    assert w.created == created
    assert w.rests()


def test_a_job_whose_end_is_told_too_early_is_not_deleted_for_it() -> None:
    """Its time begins when its stages have ended."""
    w = done(ttlSecondsAfterFinished=600)
    w.status["completionTime"] = stamp(-10_000)
    assert not w.rests()
    w.settle()
    assert w.status["completionTime"] == w.stage("evaluate")["completionTime"]


@pytest.mark.parametrize("keep", ["nothing", "the first stage", "the stages that are over"])
def test_an_erased_status_is_rebuilt_from_pods(keep: str) -> None:
    w = in_training()
    before, pods = settled(w), [*w.pods]
    stages = {"nothing": 0, "the first stage": 1, "the stages that are over": 1}[keep]
    w.manifest["status"] = {"stages": w.status["stages"][:stages]} if stages else {}
    w.seconds += 50
    after = settled(w)
    assert [*w.pods] == pods
    assert (after["phase"], after["reason"]) == (before["phase"], before["reason"])
    for name in ("preprocess", "train"):
        now, then = stage_of(after, name), stage_of(before, name)
        for field in ("phase", "attempt", "startTime", "outputs", "pods"):
            assert now.get(field) == then.get(field), field


@pytest.mark.parametrize("make", [done, refused])
def test_an_erased_end_is_rebuilt_from_pods(make: Callable[[], World]) -> None:
    w = make()
    before, created = settled(w), list(w.created)
    w.manifest["status"] = {}
    w.seconds += 50
    after = settled(w)
    assert w.created == created
    for field in ("phase", "reason", "message", "evaluation"):
        assert after.get(field) == before.get(field)


def test_what_is_left_of_the_stages_is_no_end_of_the_job() -> None:
    w = done(cleanPods="always")
    w.settle()
    w.status["stages"] = w.status["stages"][:1]
    w.created.clear()  # with the number of the attempt, its names come again
    w.settle()
    assert w.status["phase"] == "Training"
    assert [p["metadata"]["name"] for p in w.of("train")] == [
        "digits-train-1-0",
        "digits-train-1-1",
    ], "which find what was made on the storage"
    assert not w.of("preprocess")


def test_before_another_attempt_its_pods_are_looked_for_by_name() -> None:
    """One whose label was taken off is in no list, and may write all the same."""
    w = in_training()
    assert plan(w.observe(), at(w.seconds)).gone == ()
    failed(w.of("train")[0], w.seconds, "ProcessKilled", code=137)
    w.record()
    while not (todo := plan(w.observe(), at(w.seconds))).create:
        w.reconcile()
    assert todo.gone == ("digits-train-1-0", "digits-train-1-1")
    w.settle()
    assert plan(w.observe(), at(w.seconds)).gone == ()
