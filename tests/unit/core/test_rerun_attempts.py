"""What becomes of attempts, counts and deadlines when a stage is run again."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.core import plan

from .reruns import ask, attempts, finished, in_the_midst_of, uid
from .world import at, disrupted, failed, manifest, running, stamp, world


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
