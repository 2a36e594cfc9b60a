"""Which failure ends a job, which is tried again, and who is named as its cause."""

from __future__ import annotations

import pytest

from trainingjob.core import plan

from .world import RUN, at, disrupted, ended, failed, result, running, succeeded, world


@pytest.mark.parametrize(
    ("situation", "fate", "reason"),
    [
        (
            "wrong input is never retried",
            lambda p, s: failed(p, s, "InputNotFound"),
            "InputNotFound",
        ),
        (
            "wrong configuration is never retried",
            lambda p, s: failed(p, s, "ColumnNotFound"),
            "ColumnNotFound",
        ),
        (
            "a result that is not JSON",
            lambda p, s: ended(p, s, message='{"result": '),
            "ResultInvalid",
        ),
        (
            "a result with NaN",
            lambda p, s: ended(p, s, message='{"result": {"outputs": {"uri": "x", "loss": NaN}}}'),
            "ResultInvalid",
        ),
        ("no result at all", lambda p, s: ended(p, s), "ResultInvalid"),
        *(
            (
                f"a result {what}",
                lambda p, s, change=change: ended(p, s, message=result(**change)),
                "ResultInvalid",
            )
            for what, change in {
                "elsewhere": {"uri": "pvc://evil/dataset"},
                "of another job": {"uri": f"{RUN}2/dataset"},
                "above the job": {"uri": f"{RUN}/../other/dataset"},
                "of another stage": {"uri": f"{RUN}/model"},
                "with a count that no integer of the API holds": {"features": 10**30},
                "with a count below zero": {"rows": {"train": -1}},
                "with a digest that is none": {"digest": "x" * 1000},
            }.items()
        ),
        (
            "an unknown reason falls back to the exit code",
            lambda p, s: failed(p, s, "Nonsense", code=3),
            "ScriptFailed",
        ),
    ],
)
def test_final_failures(situation, fate, reason):
    w = world(policy={"retries": {"application": 0}})
    w.finish("preprocess", fate)
    assert (w.status["phase"], w.status["reason"]) == ("Failed", reason), situation
    assert w.status["lastFailure"]["reason"] == reason
    assert ";" in w.status["message"], "what to do comes after what happened"
    assert w.stage("preprocess")["attempt"] == 1
    assert w.created == ["NetworkPolicy digits-stages", "digits-preprocess-1-0"]


@pytest.mark.parametrize(
    ("situation", "fate", "counted"),
    [
        (
            "a killed process is charged to infrastructure",
            lambda p, s: ended(p, s, code=137),
            "infrastructure",
        ),
        (
            "a typed infrastructure error",
            lambda p, s: failed(p, s, "DiskFull"),
            "infrastructure",
        ),
        ("user code", lambda p, s: failed(p, s, "ScriptFailed", code=3), "application"),
        (
            "out of memory is charged to the application",
            lambda p, s: ended(p, s, code=137, reason="OOMKilled"),
            "application",
        ),
        ("an eviction is charged to nobody", disrupted, "disruption"),
        ("an exit code without a report", lambda p, s: ended(p, s, code=1), "application"),
    ],
)
def test_failures_that_are_retried(situation, fate, counted):
    w = world()
    w.finish("preprocess")
    w.seconds += 1
    fate(w.of("train")[1], w.seconds)
    w.settle()
    stage = w.stage("train")
    assert stage["attempt"] == 2, situation
    assert stage["failures"][counted] == 1, situation
    assert w.status["phase"] == "Training"
    assert {pod["metadata"]["name"] for pod in w.of("train")} == {
        "digits-train-2-0",
        "digits-train-2-1",
    }, "the gang restarts as one"
    w.finish("train")
    w.finish("evaluate")
    assert w.status["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("fate", "budget", "allowed"),
    [
        (lambda p, s: ended(p, s, code=137), "infrastructure", 3),
        (lambda p, s: failed(p, s, "ScriptFailed"), "application", 1),
    ],
)
def test_budgets_end(fate, budget, allowed):
    w = world(policy={"retries": {budget: allowed}})
    w.finish("preprocess")
    for _ in range(allowed):
        w.finish("train", fate)
        assert w.status["phase"] == "Training"
        w.seconds += 100
        w.settle()
    w.finish("train", fate)
    assert w.status["phase"] == "Failed"
    assert f"after {allowed + 1} attempts" in w.status["message"]


def test_restarts_wait_longer_each_time_but_the_first_is_at_once():
    w = world()
    w.finish("preprocess")
    waits = []
    for _ in range(4):
        w.finish("train", lambda p, s: ended(p, s, code=137))
        waited = plan(w.observe(), at(w.seconds)).requeue_after
        pending = not w.of("train")
        waits.append(waited if pending else 0)
        w.seconds += 100
        w.settle()
    assert waits[0] == 0
    assert [int(waited) for waited in waits[1:]] == [1, 2, 4], "the rest is jitter"


def test_old_pods_are_deleted_only_after_the_attempt_is_stored():
    w = world()
    w.finish("preprocess")
    ended(w.of("train")[0], w.seconds, code=137)
    before = plan(w.observe(), at(w.seconds))
    assert before.empty, "nothing is destroyed before status says why"
    w.record()
    after = plan(w.observe(), at(w.seconds))
    assert {pod.name for pod in after.delete} == {"digits-train-1-0", "digits-train-1-1"}
    assert not after.create, "the new attempt waits until the old pods are gone"


def test_the_cause_is_named_and_not_its_victim():
    w = world()
    w.finish("preprocess")
    first, second = w.of("train")
    w.seconds += 1
    failed(first, w.seconds, "PeerLost")
    running(second, w.seconds)
    w.settle()
    assert w.stage("train")["attempt"] == 1, "a victim waits for its cause"
    failed(second, w.seconds + 1, "ScriptFailed", code=3, rank=1, exitCode=3)
    w.seconds += 1
    w.settle()
    failure = w.status["lastFailure"]
    assert (failure["reason"], failure["rank"], failure["exitCode"]) == ("ScriptFailed", 1, 3)
    assert failure["pod"] == "digits-train-1-1"
    assert failure["class"] == "application"


def test_a_victim_without_a_cause_is_a_failure_of_its_own():
    w = world()
    w.finish("preprocess")
    first, second = w.of("train")
    failed(first, w.seconds, "PeerLost")
    running(second, w.seconds)
    w.settle()
    w.seconds += 10
    w.settle()
    assert w.status["lastFailure"]["reason"] == "PeerLost"
    assert w.stage("train")["attempt"] == 2


def test_a_rank_that_dies_after_the_result_has_not_failed_the_job():
    w = world()
    w.finish("preprocess")
    first, second = w.of("train")
    succeeded(first, w.seconds)
    first["status"]["phase"] = "Failed"
    first["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 134
    running(second, w.seconds)
    w.settle()
    assert w.stage("train")["phase"] == "Succeeded"
    assert second["metadata"]["name"] in w.pods, "it is given time to end by itself"
    w.seconds += 10
    w.settle()
    assert second["metadata"]["name"] not in w.pods, "leftovers of a finished gang are stopped"


def test_a_vanished_pod_restarts_the_gang():
    w = world()
    w.finish("preprocess")
    del w.pods["digits-train-1-1"]
    w.settle()
    assert w.status["lastFailure"]["reason"] == "PodLost"
    assert "digits-train-1-1" in w.status["lastFailure"]["message"]
    assert w.stage("train")["attempt"] == 2


def test_pods_that_were_never_made_are_made_not_mourned():
    w = world()
    w.seconds += 1
    succeeded(w.of("preprocess")[0], w.seconds)
    todo = plan(w.observe(), at(w.seconds))
    for child in todo.create[:2]:  # the operator dies after the Service and the first pod
        w.create(child)
    w.settle()
    assert sorted(pod["metadata"]["name"] for pod in w.of("train")) == [
        "digits-train-1-0",
        "digits-train-1-1",
    ]
    assert w.stage("train")["attempt"] == 1
