"""Pods that hold more than our container: what the stage makes of them, and how they end."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.core import indexes, plan, vanished

from .world import World, at, ended, failed, running, stamp, succeeded, world

PLAIN = {"nodes": 2, "image": "theirs:1", "command": ["train"]}


def alone(**spec: Any) -> World:
    """A job that is one gang, whose pods all run beside a sidecar."""
    train = {"nodes": 1, "model": {"mlp": {"hidden": [64]}}}
    train = train | spec.pop("train", {}) | {"dataset": {"uri": "pvc://d/d"}}
    train = {key: value for key, value in train.items() if value is not None}
    w = world(**{"preprocess": None, "evaluate": None, "train": train} | spec)
    for pod in w.of("train"):
        running(pod, w.seconds)
        beside(pod)
    w.settle()
    return w


def beside(pod: dict[str, Any], code: int | None = None) -> None:
    """A sidecar beside ours, which lives, or has ended; the pod's phase is about both."""
    state: dict[str, Any] = {"running": {"startedAt": stamp(0)}}
    if code is not None:
        state = {"terminated": {"exitCode": code, "finishedAt": stamp(0)}}
    ours = pod["status"]["containerStatuses"][-1]
    pod["status"]["containerStatuses"] = [{"name": "istio-proxy", "state": state}, ours]
    codes = [s["state"].get("terminated", {}).get("exitCode") for s in (ours, {"state": state})]
    pod["status"]["phase"] = "Running" if None in codes else "Failed" if any(codes) else "Succeeded"


def done(pod: dict[str, Any], seconds: float) -> None:
    succeeded(pod, seconds)
    beside(pod)


def test_a_result_counts_at_once_and_the_pod_is_ended_soon_after():
    w = alone()
    w.seconds = 60
    done(w.of("train")[0], 60)
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Succeeded", "Completed")
    assert w.status["completionTime"] == stamp(60)
    assert w.of("train"), "a sidecar may end by itself, and then the log stays"
    assert plan(w.observe(), at(60)).requeue_after == 10
    w.seconds = 70
    w.settle()
    assert not w.of("train")
    assert w.status["phase"] == "Succeeded"


@pytest.mark.parametrize("code", [0, 1, 137])
def test_how_a_sidecar_ends_is_nothing_to_us(code):
    w = alone()
    succeeded(w.of("train")[0], 60)
    beside(w.of("train")[0], code)
    w.seconds = 60
    w.settle()
    assert w.status["phase"] == "Succeeded"
    w.seconds = 600
    w.settle()
    assert w.of("train"), "it has ended, and stays for its log"


@pytest.mark.parametrize("sidecar", [None, 0, 137])
def test_a_failure_is_told_with_its_reason_and_tried_again(sidecar):
    w = alone()
    failed(w.of("train")[0], 60, "ScriptFailed", code=3)
    beside(w.of("train")[0], sidecar)
    w.seconds = 60
    w.settle()
    assert w.status["lastFailure"]["message"].startswith("ScriptFailed happened")
    assert w.status["lastFailure"]["exitCode"] == 3
    assert w.stage("train")["attempt"] == 2
    assert [pod["metadata"]["name"] for pod in w.of("train")] == ["digits-train-2-0"]


def test_what_has_failed_for_good_is_ended_too():
    w = alone()
    failed(w.of("train")[0], 60, "LossNotFinite")
    beside(w.of("train")[0])
    w.seconds = 60
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "LossNotFinite")
    assert w.of("train"), "its sidecar has a moment"
    w.seconds = 70
    w.settle()
    assert not w.of("train"), "nothing holds a GPU any more"


def test_a_sidecar_that_runs_hides_no_image_that_cannot_be_pulled():
    w = alone()
    pod = w.of("train")[0]
    pod["status"]["containerStatuses"][1]["state"] = {
        "waiting": {"reason": "ImagePullBackOff", "message": "no such image"}
    }
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Training", "ImagePullFailed")
    assert w.stage("train")["pods"]["ready"] == 0
    w.seconds = 149
    w.settle()
    assert w.status["phase"] == "Training"
    w.seconds = 150
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "ImagePullFailed")


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ({"running": {"startedAt": stamp(0)}}, "init container setup: has not ended"),
        ({"waiting": {"reason": "Odd", "message": "odd\nindeed"}}, "setup: odd indeed"),
        ({"terminated": {"exitCode": 0}}, "the pods did not start; see"),
    ],
)
def test_an_init_container_that_takes_too_long_is_named(init, words):
    w = alone()
    pod = w.of("train")[0]
    pod["status"]["phase"] = "Pending"
    pod["status"]["initContainerStatuses"] = [{"name": "setup", "state": init, "started": False}]
    pod["status"]["containerStatuses"][1]["state"] = {"waiting": {"reason": "PodInitializing"}}
    w.seconds = 599
    w.settle()
    assert w.status["phase"] == "Training"
    w.seconds = 600
    w.settle()
    assert w.status["reason"] == "StartupDeadlineExceeded"
    assert words in w.status["message"]


def test_the_end_of_the_log_is_kept():
    w = alone()
    text = "epoch 1\rstep 2\r\nTraceback\x1b[31m\u202e (most recent call last)\n"
    ended(w.of("train")[0], 60, code=1, message=text)
    beside(w.of("train")[0])
    w.seconds = 60
    w.settle()
    tail = w.status["lastFailure"]["logTail"]
    assert tail.splitlines() == [
        *("epoch 1", "step 2", r"Traceback\u001b[31m\u202e (most recent call last)")
    ]
    ended(w.of("train")[0], 61, code=1, message="x" * 4096)
    w.settle()
    assert len(w.status["lastFailure"]["logTail"]) == 2000


def test_a_message_of_a_pod_is_one_line_that_a_terminal_can_bear():
    w = alone()
    pod = w.of("train")[0]
    failed(pod, 60, "ScriptFailed")
    told = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    told["message"] = r'{"error": {"reason": "ScriptFailed", "message": "\u001b[2J\u202ea\nb"}}'
    w.settle()
    assert w.status["lastFailure"]["message"].startswith(r"\u001b[2J\u202ea")
    assert w.status["message"].isprintable()


@pytest.mark.parametrize("train", [{"nodes": 2}, PLAIN | {"model": None}])
def test_a_rank_that_is_done_may_go_while_others_work(train):
    w = alone(train=train)
    first, second = w.of("train")
    done(second, 60)
    w.seconds = 60
    w.settle()
    counts = w.stage("train")["pods"]
    assert counts == {"desired": 2, "ready": 2, "failed": 0, "completedIndexes": "1"}
    # Its node's clock is fast: it seems to have ended after it was told to.
    second["metadata"]["deletionTimestamp"] = stamp(85)
    second["metadata"]["deletionGracePeriodSeconds"] = 30
    w.settle()
    assert w.status["reason"] == "Running"
    del w.pods[second["metadata"]["name"]]
    assert not vanished(w.observe())
    w.seconds = 4000
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Training", "Running")
    done(first, 4000)
    w.settle()
    assert w.status["phase"] == "Succeeded"
    assert w.stage("train")["attempt"] == 1
    assert "completedIndexes" not in w.stage("train")["pods"]


def test_a_rank_0_that_is_done_and_gone_is_not_missed_by_own_code():
    w = alone(train=PLAIN | {"model": None})
    first, second = w.of("train")
    ended(first, 60)
    w.seconds = 60
    w.settle()
    del w.pods[first["metadata"]["name"]]
    w.settle()
    assert w.status["reason"] == "Running"
    ended(second, 90)
    w.seconds = 90
    w.settle()
    assert w.status["phase"] == "Succeeded"
    assert w.status["completionTime"] == stamp(90)


def test_another_attempt_begins_with_nobody_done():
    w = alone(train={"nodes": 2})
    first, second = w.of("train")
    done(second, 60)
    w.settle()
    ended(first, 61, code=137)
    w.seconds = 61
    w.settle()
    assert w.stage("train")["attempt"] == 2
    assert "completedIndexes" not in w.stage("train")["pods"]
    for pod in w.of("train"):
        running(pod, 62)
    w.settle()
    del w.pods["digits-train-2-1"]
    w.settle()
    assert w.status["lastFailure"]["reason"] == "PodLost"


def test_a_pod_holds_its_gpu_until_the_gang_is_decided():
    resources = {"limits": {"nvidia.com/gpu": 1}}
    w = alone(train={"nodes": 2, "resources": resources})
    first, second = w.of("train")
    done(second, 60)
    done(first, 100)
    w.seconds = 100
    w.settle()
    assert w.stage("train")["usage"]["gpuSeconds"] == 200


def test_a_program_that_is_not_there_takes_no_time_and_is_not_tried_again():
    resources = {"limits": {"nvidia.com/gpu": 1}}
    w = alone(train={"resources": resources})
    pod = w.of("train")[0]
    ended(pod, 60, code=128, message='exec: "x": executable file not found in $PATH')
    told = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    told |= {"reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
    w.seconds = 60
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "CommandNotFound")
    assert not any(w.stage("train")["usage"].values())


def test_a_node_that_refuses_a_pod_is_charged_to_nobody_and_avoided():
    w = alone()
    pod = w.of("train")[0]
    pod["spec"]["nodeName"] = "gpu-7"
    message = "Pod was rejected: Allocate failed due to no healthy devices present"
    pod["status"] = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": message}
    w.settle()
    assert message in w.status["lastFailure"]["message"]
    assert w.stage("train")["failures"] == {"infrastructure": 0, "application": 0, "disruption": 1}
    assert "gpu-7" in str(w.of("train")[0]["spec"]["affinity"])


def test_a_clock_of_a_node_that_is_fast_makes_nothing_end_in_the_future():
    w = alone(policy={"ttlSecondsAfterFinished": 600})
    done(w.of("train")[0], 3660)
    w.seconds = 60
    w.settle()
    assert w.status["completionTime"] == stamp(60)


def test_a_result_that_was_cut_off_is_told_as_such():
    w = alone()
    pod = w.of("train")[0]
    pod["spec"]["containers"] += [{"name": f"agent-{number}"} for number in range(5)]
    ended(pod, 60, message='{"result": {"outputs": {"uri": "' + "x" * 2017)
    w.settle()
    assert w.status["lastFailure"]["reason"] == "ResultInvalid"
    assert "cut off" in w.status["lastFailure"]["message"]


@pytest.mark.parametrize(
    ("found", "text"),
    [((), None), ((0,), "0"), ((0, 1), "0-1"), ((7, 2, 0, 3, 4), "0,2-4,7")],
)
def test_indexes_are_written_as_a_job_of_batch_v1_has_them(found, text):
    assert indexes.write(found) == text
    assert indexes.read(text) == {*found}


@pytest.mark.parametrize(
    ("text", "found"),
    [("x,1,-,3-y,-2", {1}), ("5-4", set()), ("0-99999999999", {*range(10001)}), ("²", set())],
)
def test_indexes_that_somebody_has_edited_are_read_as_far_as_they_go(text, found):
    assert indexes.read(text) == found
