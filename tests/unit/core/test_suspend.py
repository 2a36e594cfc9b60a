"""spec.suspend: stops what runs, charges nobody, and is forgotten without a trace."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.api.v1alpha1 import Status

from .world import World, at, ended, failed, manifest, running, succeeded, world

STAGES = ("preprocess", "train", "evaluate")


def suspend(w: World, value: bool) -> None:
    w.manifest["spec"]["suspend"] = value
    w.manifest["metadata"]["generation"] += 1


def condition(w: World, kind: str) -> dict[str, str]:
    return next(c for c in w.status["conditions"] if c["type"] == kind)


def test_a_pod_that_fails_as_the_job_is_suspended_does_not_say_that_it_goes_on():
    """Nobody would correct it: the job is at rest."""
    w = world()
    suspend(w, True)
    w.finish("preprocess", lambda pod, seconds: failed(pod, seconds, "ScriptFailed"))
    stage = w.stage("preprocess")
    assert (w.status["phase"], stage["reason"], stage["attempt"]) == ("Suspended", "Suspended", 2)
    assert w.status["message"].startswith("preprocess: spec.suspend is set")
    assert w.status["lastFailure"]["reason"] == "ScriptFailed"
    assert w.rests()


def test_a_pod_that_ends_oddly_as_the_job_is_deleted_does_not_say_that_it_goes_on():
    w = world()
    w.manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
    w.finish("preprocess", lambda pod, seconds: ended(pod, seconds, message="{"))
    stage = w.stage("preprocess")
    assert (w.status["phase"], stage["reason"], stage["attempt"]) == ("Deleting", "Deleting", 2)
    assert w.status["lastFailure"]["reason"] == "ResultInvalid"
    assert w.rests()


def test_a_job_that_is_created_suspended_has_not_begun():
    w = world(suspend=True)
    assert not w.created
    assert (w.status["phase"], w.status["reason"]) == ("Suspended", "Suspended")
    assert "startTime" not in w.status
    assert condition(w, "Suspended")["status"] == "True"
    assert condition(w, "Reconciling")["status"] == "False", "what was asked for is reached"
    w.seconds += 10_000  # in a queue
    w.settle()
    assert w.status["phase"] == "Suspended"
    suspend(w, False)
    w.settle()
    assert w.status["startTime"] == at(10_000).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [p["metadata"]["name"] for p in w.of("preprocess")] == ["digits-preprocess-1-0"]
    assert condition(w, "Suspended")["status"] == "False"


def test_each_stage_stops_and_goes_on():
    w = world()
    for stage in STAGES:
        for pod in w.of(stage):
            running(pod, w.seconds)
        w.settle()
        suspend(w, True)
        w.settle()
        assert not w.of(stage)
        assert w.status["phase"] == "Suspended"
        assert w.status["message"].startswith(f"{stage}: ")
        assert w.stage(stage)["phase"] == "Pending"
        w.seconds += 5000
        suspend(w, False)
        w.settle()
        assert w.status["phase"] != "Suspended", "a resumed job never reads as suspended"
        assert w.stage(stage)["attempt"] == 2
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    assert "lastFailure" not in w.status
    assert all(not any(stage["failures"].values()) for stage in w.status["stages"])


def test_pods_are_stopped_only_when_status_has_said_so():
    w = world()
    suspend(w, True)
    w.act()
    assert w.of("preprocess")
    w.record()
    w.act()
    assert not w.of("preprocess")


def test_a_suspended_job_is_at_rest_only_when_its_pods_are_gone():
    w = world()
    (pod,) = w.of("preprocess")
    running(pod, 0)
    w.settle()
    suspend(w, True)
    w.record()
    assert condition(w, "Suspended")["status"] == "True"
    assert condition(w, "Reconciling")["status"] == "True"
    w.settle()
    assert condition(w, "Reconciling")["status"] == "False"


def test_a_result_that_is_complete_counts():
    w = world()
    succeeded(w.of("preprocess")[0], 1)
    suspend(w, True)
    w.settle()
    assert w.stage("preprocess")["phase"] == "Succeeded"
    assert w.status["phase"] == "Suspended"
    assert not w.of("train")


def test_a_verdict_stands():
    w = world()
    for stage in STAGES:
        w.finish(stage)
    suspend(w, True)
    w.settle()
    assert w.status["phase"] == "Succeeded"
    assert condition(w, "Suspended")["status"] == "False"


def test_a_failure_before_it_is_charged():
    w = world()
    failed(w.of("preprocess")[0], 1, "InputNotFound")
    suspend(w, True)
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "InputNotFound")


def test_time_in_suspension_is_not_counted():
    w = world(policy={"activeDeadlineSeconds": 100, "startupDeadlineSeconds": 60})
    w.seconds = 90
    suspend(w, True)
    w.settle()
    w.seconds = 5000
    w.settle()
    assert w.status["phase"] == "Suspended"
    suspend(w, False)
    w.settle()
    w.seconds = 5050
    w.settle()
    assert w.status["phase"] == "Preprocessing", "both deadlines begin anew"
    running(w.of("preprocess")[0], w.seconds)
    w.seconds = 5100
    w.settle()
    assert w.status["phase"] == "Failed"
    assert w.status["reason"] == "DeadlineExceeded"


@settings(max_examples=150, deadline=None)
@given(toggles=st.lists(st.sampled_from(["toggle", "act", "record", "run", "end"]), max_size=80))
def test_any_toggles_end_in_success(toggles):
    w = World(manifest())
    for what in toggles:
        w.seconds += 1
        pods = list(w.pods.values())
        if what == "toggle":
            suspend(w, not w.manifest["spec"].get("suspend", False))
        elif what == "act":
            w.act()
        elif what == "record":
            w.record()
        else:
            before = "Pending" if what == "run" else "Running"
            for pod in pods:
                if pod["status"]["phase"] == before:
                    (running if what == "run" else succeeded)(pod, w.seconds)
    suspend(w, False)
    w.settle()
    for stage in STAGES:
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    assert "lastFailure" not in w.status


def test_a_job_of_another_controller_is_left_alone():
    w = world(managedBy="kueue.x-k8s.io/multikueue")
    assert not w.created
    assert w.writes == 1 and w.status == Status().to_dict(), "nothing but defaults"
    w = world(managedBy="trainingjob.dev/operator")
    assert w.created


def resize(w: World, nodes: int) -> None:
    """As a queue does that has other room for it than it was to have."""
    w.manifest["spec"]["train"] = w.manifest["spec"]["train"] | {"nodes": nodes}
    w.manifest["metadata"]["generation"] += 1


def in_training(nodes: int = 2) -> World:
    w = world(train={"nodes": nodes, "model": {"mlp": {"hidden": [64]}}})
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    assert w.stage("train")["phase"] == "Running"
    return w


def test_a_suspended_job_gets_other_nodes_and_another_template():
    w = in_training(4)
    suspend(w, True)
    w.settle()
    resize(w, 2)
    w.manifest["spec"]["train"]["template"] = {"nodeSelector": {"pool": "b"}}
    suspend(w, False)
    w.settle()
    pods = w.of("train")
    assert [pod["metadata"]["name"] for pod in pods] == ["digits-train-2-0", "digits-train-2-1"]
    assert all(pod["spec"]["nodeSelector"] == {"pool": "b"} for pod in pods)
    w.finish("train")
    w.finish("evaluate")
    assert w.status["phase"] == "Succeeded"


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (1, 3)])
@pytest.mark.parametrize("seen", ["nothing", "that it is suspended"])
def test_pods_of_another_size_are_never_mixed(before: int, after: int, seen: str):
    """Whoever suspends, resizes and resumes may be faster than the operator."""
    w = in_training(before)
    if seen != "nothing":
        suspend(w, True)
    resize(w, after)
    if seen != "nothing":
        w.record()
        suspend(w, False)
    w.settle()
    names = {f"digits-train-2-{index}" for index in range(after)}
    assert {pod["metadata"]["name"] for pod in w.of("train")} == names
    sizes = {variable["value"] for pod in w.of("train") for variable in environment(pod)}
    assert sizes == {str(after)}
    reason = "Resized" if seen == "nothing" else "Suspended"
    assert [(one["reason"], one["attempt"]) for one in w.status["history"]] == [(reason, 1)]
    assert not any(w.stage("train")["failures"].values()), "charged to nobody"


def environment(pod: dict[str, Any]) -> list[dict[str, str]]:
    (container,) = pod["spec"]["containers"]
    return [variable for variable in container["env"] if variable["name"] == "WORLD_SIZE"]


def test_a_queue_that_preempts_pushes_no_failure_out_of_the_history():
    w = in_training()
    failed(w.of("train")[0], w.seconds, "ProcessKilled", code=137)
    w.settle()
    for _ in range(25):
        w.seconds += 60
        for pod in w.of("train"):
            running(pod, w.seconds)
        w.settle()
        suspend(w, True)
        w.settle()
        suspend(w, False)
        w.settle()
    past = w.status["history"]
    assert len(past) == 20
    assert [one["attempt"] for one in past] == [1, *range(8, 27)]
    assert past[0]["reason"] == "ProcessKilled"
    assert {one["reason"] for one in past[1:]} == {"Suspended"}
