"""The annotation by which a job is run again from one of its stages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.core import events, plan, status
from trainingjob.core.policy import rerun as policy

from .world import World, at, disrupted, failed, manifest, running, stamp, succeeded, world

ANNOTATION = "trainingjob.dev/rerun"
STAGES = ("preprocess", "train", "evaluate")


def ask(w: World, value: str) -> None:
    w.manifest["metadata"]["annotations"] = {ANNOTATION: value}


def finished(**spec: Any) -> World:
    w = world(**spec)
    for stage in STAGES:
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    return w


def failed_in(stage: str, reason: str = "InputNotFound") -> World:
    w = world()
    for name in STAGES[: STAGES.index(stage)]:
        w.finish(name)
    w.finish(stage, lambda pod, seconds: failed(pod, seconds, reason))
    assert w.status["phase"] == "Failed"
    return w


def in_the_midst_of(stage: str) -> World:
    w = world()
    for name in STAGES[: STAGES.index(stage)]:
        w.finish(name)
    w.seconds += 1
    for pod in w.of(stage):
        running(pod, w.seconds)
    w.settle()
    assert w.stage(stage)["phase"] == "Running"
    return w


def suspended_in(stage: str) -> World:
    w = in_the_midst_of(stage)
    w.manifest["spec"]["suspend"] = True
    w.manifest["metadata"]["generation"] += 1
    w.settle()
    assert w.status["phase"] == "Suspended"
    return w


def attempts(w: World) -> list[int]:
    return [stage["attempt"] for stage in w.status["stages"]]


def conditions(w: World) -> dict[str, str]:
    return {c["type"]: c["status"] for c in w.status["conditions"]}


def to_the_end(w: World) -> None:
    for stage in STAGES:
        w.finish(stage)


@pytest.mark.parametrize(
    ("what", "made", "value", "phase", "expected"),
    [
        ("all", finished, "preprocess:1", "Pending", [2, 2, 2]),
        ("training and its verdict", finished, "train:1", "Training", [1, 2, 2]),
        ("the verdict alone", finished, "evaluate:1", "Evaluating", [1, 1, 2]),
        (
            "a stage that failed, and those after it never ran",
            lambda: failed_in("train"),
            "train:1",
            "Training",
            [1, 2, 1],
        ),
        (
            "a failed job from its first stage",
            lambda: failed_in("train"),
            "preprocess:1",
            "Pending",
            [2, 2, 1],
        ),
        (
            "a stage that an earlier one has failed before: that runs again, too",
            lambda: failed_in("preprocess"),
            "train:1",
            "Pending",
            [2, 1, 1],
        ),
        (
            "a gate that failed",
            lambda: failed_in("evaluate"),
            "evaluate:1",
            "Evaluating",
            [1, 1, 2],
        ),
        (
            "the stage that runs at the moment",
            lambda: in_the_midst_of("train"),
            "train:1",
            "Training",
            [1, 2, 1],
        ),
        (
            "a stage before the one that runs",
            lambda: in_the_midst_of("evaluate"),
            "train:1",
            "Training",
            [1, 2, 2],
        ),
        (
            "a stage whose turn has not come: nothing happens",
            lambda: in_the_midst_of("train"),
            "evaluate:1",
            "Training",
            [1, 1, 1],
        ),
        (
            "a suspended job stays so",
            lambda: suspended_in("train"),
            "preprocess:1",
            "Suspended",
            [2, 3, 1],
        ),
    ],
)
def test_a_request_resets_the_stage_and_all_after_it(
    what: str, made: Callable[[], World], value: str, phase: str, expected: list[int]
) -> None:
    w = made()
    usage = {stage["name"]: stage.get("usage") for stage in w.status["stages"]}
    ask(w, value)
    w.record()

    told = w.status
    assert (told["phase"], attempts(w), told["rerun"]) == (phase, expected, value)
    assert not {"evaluation", "lastFailure", "completionTime"} & set(told)
    assert conditions(w) == {
        "Valid": "True",
        "Suspended": str(phase == "Suspended"),
        "Reconciling": str(phase != "Suspended"),
        "Stalled": "False",
        "Complete": "False",
        "Failed": "False",
    }
    again = STAGES.index(value.partition(":")[0])
    for stage in told["stages"][again:]:
        assert not {"startTime", "completionTime", "outputs"} & set(stage)
        assert not any(stage["failures"].values())
        assert usage[stage["name"]] is None or "usage" in stage, "it adds up"

    w.settle()
    w.manifest["spec"].pop("suspend", None)
    w.settle()
    to_the_end(w)
    assert (w.status["phase"], attempts(w)) == ("Succeeded", expected)


def test_a_request_is_acted_on_once_and_the_next_one_again() -> None:
    w = finished()
    for number, value in enumerate(("train:1", "train:2", "train:7", "train:1"), 2):
        ask(w, value)
        w.settle()
        to_the_end(w)
        final = copy.deepcopy(w.status)
        w.seconds += 1000
        w.settle()
        assert w.status == final
        assert attempts(w) == [1, number, number]
    del w.manifest["metadata"]["annotations"]
    w.settle()
    assert w.status == final, "what is not there asks for nothing"


@pytest.mark.parametrize(
    "value",
    [
        "train",
        "train:",
        "train:0",
        "train:01",
        "train:10000",
        "train:-1",
        "train:1 ",
        "Train:1",
        "trian:1",
        "train:١",
        ":1",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("made", [finished, lambda: in_the_midst_of("train")])
def test_a_value_that_is_no_request_is_told_once_and_disturbs_nothing(
    made: Callable[[], World], value: str
) -> None:
    w = made()
    before, stored = w.observe().job.status, copy.deepcopy(w.status)
    pods = set(w.pods)
    ask(w, value)
    w.settle()

    assert w.status == stored | {"rerun": value[:64]}
    assert set(w.pods) == pods
    told = events(w.observe().job, before, w.observe().job.status, at(w.seconds))
    assert [(event["type"], event["reason"]) for event in told] == [("Warning", "RerunInvalid")]
    assert "train:1" not in value or "preprocess:1" in told[0]["message"]
    writes = w.writes
    w.settle()
    assert w.writes == writes


def test_a_stage_that_the_job_does_not_have_is_no_request() -> None:
    w = world(preprocess=None, train=manifest()["spec"]["train"] | {"dataset": {"uri": "pvc://d"}})
    ask(w, "preprocess:1")
    w.settle()
    assert (attempts(w), w.status["rerun"]) == ([1, 1], "preprocess:1")
    assert "rerunTime" not in w.status
    assert "(train, evaluate)" in policy.fault(w.observe().job, "preprocess:1")


@pytest.mark.parametrize(
    ("annotation", "known", "expected"),
    [
        (None, None, "train:1"),
        ("evaluate:3", "evaluate:3", "train:4"),
        ("train:2", "train:5", "train:6"),
        ("train:9999", "train:9999", "train:1"),
        ("nonsense", "nonsense", "train:1"),
    ],
)
def test_the_next_value_is_a_new_one(
    annotation: str | None, known: str | None, expected: str
) -> None:
    w = finished()
    if annotation:
        ask(w, annotation)
    if known:
        w.status["rerun"] = known
    job = w.observe().job
    assert policy.following(job, "train") == expected
    assert expected not in (annotation, known)


def test_nothing_is_made_or_deleted_before_the_request_is_stored() -> None:
    w = finished(policy={"ttlSecondsAfterFinished": 0, "cleanPods": "always"})
    w.seconds += 5
    ask(w, "train:1")
    todo = plan(w.observe(), at(w.seconds))
    assert (todo.empty, todo.delete_job) == (True, False)

    w.record()
    todo = plan(w.observe(), at(w.seconds))
    assert {pod.stage for pod in todo.delete} <= {"train", "evaluate"}
    assert not todo.delete_job


def test_pods_of_later_stages_end_at_once_too() -> None:
    w = in_the_midst_of("evaluate")
    ask(w, "preprocess:1")
    w.settle()
    assert sorted(w.pods) == ["digits-preprocess-2-0"]


def test_the_new_attempt_waits_until_the_pods_of_the_old_one_are_gone() -> None:
    w = in_the_midst_of("train")
    ask(w, "train:1")
    w.record()
    for pod in w.of("train"):
        pod["metadata"]["deletionTimestamp"] = stamp(w.seconds + 30)
    assert plan(w.observe(), at(w.seconds)).empty
    w.pods.clear()
    assert [c["metadata"]["name"] for c in plan(w.observe(), at(w.seconds)).create] == [
        "digits-train-2-0",
        "digits-train-2-1",
    ]


def test_an_interrupted_attempt_is_in_the_history_and_its_cost_counts_as_lost() -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    w = world(train=manifest()["spec"]["train"] | gpu)
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    w.seconds += 60
    ask(w, "train:1")
    w.settle()
    (past,) = w.status["history"]
    assert (past["stage"], past["attempt"], past["reason"]) == ("train", 1, "Rerun")
    usage = w.stage("train")["usage"]
    assert (usage["gpuSeconds"], usage["failedGpuSeconds"]) == (120, 120)

    w.finish("train")
    w.finish("evaluate")
    ask(w, "train:2")
    before = w.stage("train")["usage"]
    w.settle()
    assert w.stage("train")["usage"] == before
    assert w.status["history"] == [past], "an attempt that was over was not interrupted"


def test_retries_count_anew_and_the_message_counts_this_run_alone() -> None:
    w = world(policy={"retries": {"application": 1}})
    w.finish("preprocess")

    def exits(pod: dict[str, Any], seconds: float) -> None:
        failed(pod, seconds, "ScriptFailed", code=3)

    for _ in range(2):
        w.finish("train", exits)
    assert "(after 2 attempts)" in w.status["message"]
    ask(w, "train:1")
    w.settle()
    w.finish("train", exits)
    assert (w.status["phase"], w.stage("train")["attempt"]) == ("Training", 4)
    w.finish("train", exits)
    assert w.status["phase"] == "Failed"
    assert "(after 2 attempts)" in w.status["message"]
    assert [past["attempt"] for past in w.status["history"]] == [1, 2, 3, 4]


def test_a_failure_of_a_stage_that_stays_is_kept() -> None:
    w = world()
    w.finish("preprocess", disrupted)
    w.finish("preprocess")
    w.finish("train")
    ask(w, "train:1")
    w.settle()
    assert w.status["lastFailure"]["stage"] == "preprocess"
    assert len(w.of("train")) == 2, "and delays nobody"


@pytest.mark.parametrize(
    ("what", "value"), [("from the first stage", "preprocess:1"), ("in between", "train:1")]
)
def test_all_deadlines_begin_anew(what: str, value: str) -> None:
    stage = value.partition(":")[0]
    w = finished(policy={"activeDeadlineSeconds": 100, "startupDeadlineSeconds": 60})
    w.seconds = 5000
    ask(w, value)
    w.settle()
    assert w.status["startTime"] == stamp(0)
    assert w.status["rerunTime"] == stamp(5000)
    w.seconds = 5050
    w.settle()
    assert (w.stage(stage)["attempt"], w.stage(stage)["reason"]) == (2, "Starting")
    for pod in w.of(stage):
        running(pod, w.seconds)
    w.settle()
    assert plan(w.observe(), at(w.seconds)).requeue_after == 50
    w.seconds = 5100
    w.settle()
    assert w.status["reason"] == "DeadlineExceeded"


def test_pods_that_cannot_be_made_have_the_startup_deadline_from_the_rerun_on() -> None:
    w = finished(policy={"startupDeadlineSeconds": 60})
    w.refuse()
    w.seconds = 5000
    ask(w, "train:1")
    w.settle()
    assert w.status["phase"] == "Training"
    w.seconds = 5059
    w.settle()
    assert w.stage("train")["attempt"] == 2
    w.seconds = 5060
    w.settle()
    assert w.status["lastFailure"]["reason"] == "StartupDeadlineExceeded"


def test_the_time_to_live_begins_with_the_next_end() -> None:
    w = finished(policy={"ttlSecondsAfterFinished": 100})
    w.seconds = 90
    ask(w, "evaluate:1")
    w.settle()
    assert not plan(w.observe(), at(10_000)).delete_job
    w.seconds = 200
    w.finish("evaluate")
    todo = plan(w.observe(), at(w.seconds))
    assert (todo.delete_job, todo.requeue_after) == (False, 100)


def uid(w: World, stage: str) -> str:
    """As the pods of the stage know it."""
    found = {
        json.loads(variable["value"])["job"]["uid"]
        for pod in w.of(stage)
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] == "TRAININGJOB_STAGE"
    }
    (only,) = found
    return only


def test_checkpoints_belong_to_the_runs_of_training_alone() -> None:
    w = world()
    w.finish("preprocess")
    first = uid(w, "train")
    assert first == "uid-1"
    w.finish("train", disrupted)
    assert uid(w, "train") == first, "a retry goes on"
    w.finish("train")
    w.finish("evaluate")
    seen = {first}
    for number in range(3):
        # The same number for another stage is another request.
        ask(w, f"{('train', 'preprocess')[number % 2]}:1")
        w.settle()
        w.finish("preprocess")
        mine = uid(w, "train")
        assert mine not in seen
        seen.add(mine)
        ask(w, f"evaluate:{number + 1}")
        w.settle()
        w.finish("train", disrupted)
        assert uid(w, "train") == mine, "a rerun of what follows is no reason to start over"
        w.finish("train")
        w.finish("evaluate")
        assert w.status["phase"] == "Succeeded"


def test_a_request_that_follows_at_once_takes_no_other_attempt() -> None:
    w = finished()
    for number in (1, 2):
        ask(w, f"train:{number}")
        w.record()
    assert attempts(w) == [1, 2, 2]
    w.settle()
    assert uid(w, "train") != "uid-1"


def test_an_attempt_that_only_the_pods_know_is_not_taken_again() -> None:
    w = in_the_midst_of("train")
    w.finish("train", disrupted)
    w.status["stages"][1]["attempt"] = 1
    ask(w, "train:1")
    w.record()
    assert attempts(w) == [1, 3, 1]


@pytest.mark.parametrize("value", ["train:1", "nonsense"])
def test_a_job_that_has_no_status_has_nothing_to_run_again(value: str) -> None:
    w = World()
    ask(w, value)
    w.settle()
    assert w.of("preprocess")
    assert (attempts(w), w.status["rerun"]) == ([1, 1, 1], value)

    w.finish("preprocess")
    del w.manifest["status"]
    w.settle()
    assert attempts(w) == [1, 1, 1], "an erased status is rebuilt"
    assert w.stage("preprocess")["phase"] == "Succeeded"


def test_a_job_of_another_controller_is_left_alone() -> None:
    w = world(managedBy="kueue.x-k8s.io/multikueue")
    w.manifest["status"]["observedGeneration"] = 1
    before = copy.deepcopy(w.status)
    ask(w, "train:1")
    w.settle()
    assert (w.status, w.created) == (before, [])


def test_a_rerun_is_told_once_and_that_it_went_well_is_not() -> None:
    w = finished()
    names: list[str] = []
    told: list[str] = []
    for number in (1, 2):
        before = w.observe().job.status
        ask(w, f"evaluate:{number}")
        w.record()
        middle = w.observe().job.status
        w.settle()
        w.finish("evaluate")
        after = w.observe().job.status
        for one, other in ((before, middle), (middle, after)):
            found = events(w.observe().job, one, other, at(w.seconds))
            names += [event["metadata"]["name"] for event in found]
            told += [f"{event['type']} {event['reason']}" for event in found]
    assert told == ["Normal Rerun"] * 2
    assert len(set(names)) == len(names)


def test_given_twice_it_is_the_same() -> None:
    w = finished()
    ask(w, "train:1")
    observation = w.observe()
    before = copy.deepcopy(observation)
    assert status(observation, at(50)) == status(observation, at(50))
    assert observation == before


@settings(max_examples=200, deadline=None)
@given(
    moves=st.lists(
        st.one_of(
            st.sampled_from(["act", "act", "record", "record", "run", "end", "kill", "suspend"]),
            st.sampled_from(STAGES),
        ),
        max_size=80,
    )
)
def test_any_requests_at_any_moment_end_in_success(moves: list[str]) -> None:
    """No pod's name comes twice, which the world sees to, and no gang is of two runs."""
    w = World(manifest(policy={"retries": {"infrastructure": 100}}))
    asked = 0
    for what in moves:
        w.seconds += 1
        if what in STAGES:
            asked += 1
            ask(w, f"{what}:{asked}")
        elif what == "act":
            w.act()
        elif what == "record":
            w.record()
        elif what == "suspend":
            w.manifest["spec"]["suspend"] = not w.manifest["spec"].get("suspend", False)
            w.manifest["metadata"]["generation"] += 1
        else:
            fate = {"run": running, "end": succeeded, "kill": disrupted}[what]
            wanted = "Pending" if what == "run" else "Running"
            for pod in w.pods.values():
                if pod["status"]["phase"] == wanted:
                    fate(pod, w.seconds)
        for attempt in {p["metadata"]["labels"]["trainingjob.dev/attempt"] for p in w.of("train")}:
            gang = [p for p in w.of("train") if f"-{attempt}-" in p["metadata"]["name"]]
            assert len({uid(World(pods={"": p}), "train") for p in gang}) == 1
    w.manifest["spec"]["suspend"] = False
    w.settle()
    to_the_end(w)
    assert w.status["phase"] == "Succeeded"
    assert w.status.get("rerun") == (f"{what_last(moves)}:{asked}" if asked else None)
    final = copy.deepcopy(w.status)
    w.seconds += 1000
    w.settle()
    assert w.status == final


def what_last(moves: list[str]) -> str:
    return [what for what in moves if what in STAGES][-1]
