"""What is left of a job that is over, and how long."""

from __future__ import annotations

import pytest

from trainingjob.core import plan

from .world import World, at, failed, world


def finished(fate: str, **policy: object) -> World:
    w = world(policy=policy)
    if fate == "Failed":
        w.finish("preprocess", lambda p, s: failed(p, s, "InputEmpty"))
    else:
        for stage in ("preprocess", "train", "evaluate"):
            w.finish(stage)
    assert w.status["phase"] == fate
    return w


@pytest.mark.parametrize("fate", ["Succeeded", "Failed"])
@pytest.mark.parametrize(
    ("clean", "left_after"),
    [
        (None, {"Succeeded", "Failed"}),
        ("never", {"Succeeded", "Failed"}),
        ("onSuccess", {"Failed"}),
        ("always", set()),
    ],
)
def test_pods_that_have_ended_stay_as_the_policy_says(clean, left_after, fate):
    w = finished(fate, **({"cleanPods": clean} if clean else {}))
    assert bool(w.pods) == (fate in left_after)
    assert w.status["phase"] == fate


def test_no_pod_goes_before_the_verdict_is_stored():
    w = world(policy={"cleanPods": "always"})
    w.finish("preprocess")
    w.finish("train")
    for pod in w.of("evaluate"):
        failed(pod, w.seconds, "InputEmpty")
    assert not plan(w.observe(), at(w.seconds)).delete, "status does not know it yet"
    w.record()
    assert len(plan(w.observe(), at(w.seconds)).delete) == len(w.pods) > 0


@pytest.mark.parametrize("fate", ["Succeeded", "Failed"])
def test_the_job_goes_when_its_time_is_over_and_not_sooner(fate):
    w = finished(fate, ttlSecondsAfterFinished=100)
    end = w.seconds
    todo = plan(w.observe(), at(end + 40))
    assert (todo.delete_job, todo.requeue_after) == (False, 60)
    assert plan(w.observe(), at(end + 100)).delete_job


def test_a_job_without_a_time_to_live_stays():
    todo = plan(finished("Succeeded").observe(), at(10**9))
    assert (todo.delete_job, todo.requeue_after, todo.empty) == (False, None, True)


def test_a_time_to_live_that_is_set_afterwards_holds():
    w = finished("Succeeded")
    w.manifest["spec"]["policy"] = {"ttlSecondsAfterFinished": 0}
    assert plan(w.observe(), at(w.seconds)).delete_job


def test_a_job_that_is_being_deleted_is_not_deleted_again():
    w = finished("Succeeded", ttlSecondsAfterFinished=0)
    w.manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not plan(w.observe(), at(1000)).delete_job
