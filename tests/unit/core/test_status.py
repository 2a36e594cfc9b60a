"""How a job stands, situation by situation."""

from __future__ import annotations

import copy
import json

import pytest

from trainingjob.core import Blocker, plan, status

from .world import (
    RESULTS,
    RUN,
    World,
    at,
    disrupted,
    ended,
    failed,
    manifest,
    running,
    stamp,
    succeeded,
    world,
)


def test_a_new_job_is_pending_and_gets_its_first_pod():
    w = World()
    todo = plan(w.observe(), at(0))
    assert [child["metadata"]["name"] for child in todo.create] == ["digits-preprocess-1-0"]
    w.settle()
    assert w.status["phase"] == "Preprocessing"
    assert w.status["stages"][0]["phase"] == "Running"


def test_stage_follows_stage_to_the_verdict():
    w = world()
    phases = [w.status["phase"]]
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
        phases.append(w.status["phase"])
    assert phases == ["Preprocessing", "Training", "Evaluating", "Succeeded"]
    assert w.created == [
        "digits-preprocess-1-0",
        "NetworkPolicy digits-train",
        "Service digits-train",
        "digits-train-1-0",
        "digits-train-1-1",
        "digits-evaluate-1-0",
    ]
    evaluation = w.status["evaluation"]
    assert evaluation["passed"] is True
    assert evaluation["metrics"][0] == {
        "name": "accuracy",
        "value": 0.95,
        "min": 0.9,
        "passed": True,
    }
    assert evaluation["samples"] == 100
    assert w.status["completionTime"] == stamp(3)
    assert [stage["outputs"]["digest"] for stage in w.status["stages"]] == [
        "sha256:1",
        "sha256:2",
        "sha256:3",
    ]


def test_writes_of_a_job_of_four_pods_stay_few():
    w = World()
    for _ in range(2):
        w.reconcile()
    for stage in ("preprocess", "train", "evaluate"):
        for pod in w.of(stage):
            succeeded(pod, 1)
        w.reconcile()
        w.settle()
    assert w.status["phase"] == "Succeeded"
    assert len(w.created) + w.writes <= 5 + 6


def conditions(w: World) -> dict[str, str]:
    return {c["type"]: c["status"] for c in w.status["conditions"]}


def test_conditions_follow_kstatus():
    w = world()
    assert conditions(w) == {
        "Valid": "True",
        "Suspended": "False",
        "Reconciling": "True",
        "Stalled": "False",
        "Complete": "False",
        "Failed": "False",
    }
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    assert conditions(w)["Reconciling"] == "False"
    assert conditions(w)["Complete"] == "True"
    failing = world()
    failing.finish("preprocess", lambda pod, s: failed(pod, s, "InputNotFound"))
    assert conditions(failing)["Stalled"] == "True"
    assert conditions(failing)["Failed"] == "True"
    assert "Ready" not in conditions(failing)


def test_the_time_of_a_condition_changes_only_with_its_value():
    w = world()
    w.finish("preprocess")
    times = {c["type"]: c["lastTransitionTime"] for c in w.status["conditions"]}
    assert times["Valid"] == stamp(0)
    assert times["Reconciling"] == stamp(0)


def result(stage="preprocess", **outputs):
    """The termination message of a stage that did well, but for that."""
    made = RESULTS[stage]
    return json.dumps({"result": made | {"outputs": made["outputs"] | outputs}})


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
    assert w.created == ["digits-preprocess-1-0"]


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


def test_gates_decide():
    w = world(
        evaluate={
            "gates": [{"metric": "accuracy", "min": 0.99}, {"metric": "f1_macro", "max": 0.5}]
        }
    )
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "GateFailed")
    assert "accuracy 0.95 is below 0.99, f1_macro 0.94 is above 0.5" in w.status["message"]
    assert w.status["evaluation"]["passed"] is False
    assert w.stage("evaluate")["outputs"]["digest"] == "sha256:3", "the evaluation is kept"


def test_gates_decide_by_the_mean_over_folds():
    w = world(evaluate={"gates": [{"metric": "accuracy", "min": 0.96}]})
    w.finish("preprocess")
    w.finish("train")
    result = copy.deepcopy(RESULTS["evaluate"])
    result["metrics"][0] |= {"deviation": 0.0123, "test": 0.97}
    message = json.dumps({"result": result})
    w.finish("evaluate", lambda pod, seconds: ended(pod, seconds, message=message))
    assert w.status["message"].startswith("accuracy 0.95 ± 0.012 over the folds is below 0.96;")
    judged = w.status["evaluation"]["metrics"]
    assert judged[0] == {
        "name": "accuracy", "value": 0.95, "deviation": 0.0123, "test": 0.97,
        "min": 0.96, "passed": False,
    }  # fmt: skip
    assert judged[1] == {"name": "f1_macro", "value": 0.94}


def against_the_past(value, baseline):
    """A job that has ended: its accuracy against that of the last accepted model."""
    gate = {"metric": "accuracy", "noWorseThan": "lastAccepted", "tolerance": 0.01}
    w = world(evaluate={"gates": [gate]})
    w.finish("preprocess")
    w.finish("train")
    result = copy.deepcopy(RESULTS["evaluate"])
    result["metrics"][0]["value"] = value
    if baseline is not None:
        result["baseline"] = baseline
    message = json.dumps({"result": result})
    w.finish("evaluate", lambda pod, seconds: ended(pod, seconds, message=message))
    return w.status


def last(digest="sha256:1", **metrics):
    return {"metrics": metrics, "datasetDigest": digest}


WORSE = "accuracy 0.87 is worse than 0.93 of the last accepted model"
NONE_YET = "; there was no accepted model to compare accuracy with"
PAST = {
    "better": (0.95, last(accuracy=0.93), "the model passed all gates"),
    "worse within the tolerance": (0.92, last(accuracy=0.93), "the model passed all gates"),
    "worse": (0.87, last(accuracy=0.93), f"{WORSE} by more than 0.01; improve"),
    "worse on other data": (
        *(0.87, last("sha256:9", accuracy=0.93)),
        f"{WORSE} on other test data by more than 0.01; improve",
    ),
    "no model was accepted yet": (0.1, None, f"the model passed all gates{NONE_YET}"),
    "the last one was judged by other metrics": (
        *(0.1, last(rmse=3.5)),
        f"the model passed all gates{NONE_YET}",
    ),
}


@pytest.mark.parametrize("case", PAST)
def test_a_gate_against_the_past(case):
    value, baseline, words = PAST[case]
    told = against_the_past(value, baseline)
    passed = "passed" in words
    assert (told["phase"], told["reason"]) == (
        ("Succeeded", "Completed") if passed else ("Failed", "GateFailed")
    )
    assert told["message"].startswith(words)
    assert told["message"] == words or not passed
    judged = told["evaluation"]["metrics"][0]
    past = (baseline or last())["metrics"].get("accuracy")
    assert judged["passed"] is passed
    assert judged.get("baseline") == past
    assert judged.get("min") == (None if past is None else 0.92)


def test_a_gate_without_its_metric_is_an_invalid_result():
    w = world(evaluate={"gates": [{"metric": "roc_auc", "min": 0.5}]})
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    assert w.status["reason"] == "ResultInvalid"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"datasetDigest": "sha256:9"}, "DatasetInvalid"),
        ({"modelDigest": "sha256:9"}, "ModelCorrupt"),
        ({"datasetDigest": "x" * 1000}, "ResultInvalid"),
        ({"modelDigest": "x" * 1000}, "ResultInvalid"),
        ({"samples": 10**30}, "ResultInvalid"),
        ({"metrics": [{"name": f"m{n}", "value": 1} for n in range(65)]}, "ResultInvalid"),
        ({}, "Completed"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_no_verdict(change, reason):
    w = world(policy={"retries": {"application": 0}})
    w.finish("preprocess")
    w.finish("train")
    told = json.dumps({"result": RESULTS["evaluate"] | change})
    w.finish("evaluate", lambda p, s: ended(p, s, message=told))
    assert w.status["reason"] == reason
    assert ("evaluation" in w.status) is (reason == "Completed")


def test_each_stage_is_told_what_those_before_have_left():
    w = world()
    w.finish("preprocess")
    w.finish("train")
    w.finish("evaluate")
    variables = {
        name: {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        for name, pod in w.ever.items()
    }
    dataset, model = (RESULTS[name]["outputs"]["digest"] for name in ("preprocess", "train"))
    told = "TRAININGJOB_DATASET_DIGEST", "TRAININGJOB_MODEL_DIGEST"
    seen = {pod: tuple(env.get(name) for name in told) for pod, env in variables.items()}
    assert seen["digits-preprocess-1-0"] == (None, None)
    assert seen["digits-train-1-0"] == seen["digits-train-1-1"] == (dataset, None)
    assert seen["digits-evaluate-1-0"] == (dataset, model)


def test_numbers_of_an_error_that_are_none_do_not_hide_the_error():
    w = world()
    w.finish(
        "preprocess", lambda p, s: failed(p, s, "InputNotFound", rank=10**30, exitCode=-(2**40))
    )
    assert w.status["reason"] == "InputNotFound"
    assert "rank" not in w.status["lastFailure"]


def test_erased_status_is_rebuilt_and_nothing_runs_twice():
    w = world()
    w.finish("preprocess")
    created = list(w.created)
    del w.manifest["status"]
    w.settle()
    assert w.created == created
    assert w.stage("preprocess")["phase"] == "Succeeded"
    assert w.status["phase"] == "Training"


def test_erased_status_keeps_the_attempt_that_pods_show():
    w = world()
    w.finish("preprocess")
    ended(w.of("train")[0], w.seconds, code=137)
    w.settle()
    del w.manifest["status"]
    w.settle()
    assert w.stage("train")["attempt"] == 2


def test_the_active_deadline_ends_the_job_and_frees_its_pods():
    w = world(policy={"activeDeadlineSeconds": 100})
    running(w.of("preprocess")[0], 1)
    w.settle()
    assert plan(w.observe(), at(1)).requeue_after == 99
    w.seconds = 100
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "DeadlineExceeded")
    assert not w.of("preprocess")


def test_an_obstacle_is_told_and_tried_again():
    w = World()
    refusal = Blocker(
        "digits-preprocess-1-0", "NameConflict", "pod digits-preprocess-1-0 is not ours"
    )
    w.blockers = (refusal,)
    w.record()
    assert w.status["reason"] == "NameConflict"
    assert w.status["phase"] == "Pending"
    assert not plan(w.observe(), at(0)).empty


def test_a_job_may_start_from_a_dataset_and_end_without_evaluation():
    w = world(
        preprocess=None,
        evaluate=None,
        train={"dataset": {"uri": "pvc://d/ds"}, "model": {"mlp": {}}},
    )
    assert w.created == ["digits-train-1-0"], "a gang of one needs no Service"
    w.finish("train")
    assert w.status["phase"] == "Succeeded"
    assert [stage["name"] for stage in w.status["stages"]] == ["train"]


def test_a_users_own_image_is_judged_by_exit_codes_alone():
    train = {"image": "mine:1", "command": ["python", "train.py"], "nodes": 2}
    w = world(train=train)
    w.finish("preprocess")
    first, second = w.of("train")
    ended(first, w.seconds, message="bye")
    running(second, w.seconds)
    w.settle()
    assert w.stage("train")["phase"] == "Running"
    ended(second, w.seconds)
    w.settle()
    assert w.stage("train")["phase"] == "Succeeded"


def test_a_deleted_job_is_left_to_the_garbage_collector():
    w = world()
    w.manifest["metadata"]["deletionTimestamp"] = stamp(1)
    w.pods.clear()
    assert plan(w.observe(), at(1)).empty


def test_messages_stay_within_bounds():
    w = world()
    long = json.dumps({"error": {"reason": "StepFailed", "message": "x" * 2000}})
    w.finish("preprocess", lambda p, s: ended(p, s, code=1, message=long))
    assert len(w.status["message"]) <= 2048
    assert status(w.observe(), at(w.seconds)).to_dict() == w.status


def test_a_status_of_a_newer_operator_is_understood():
    w = World(manifest())
    w.settle()
    w.manifest["status"]["novelty"] = {"a": 1}
    w.manifest["status"]["stages"][0]["novelty"] = True
    w.settle()
    assert w.status["phase"] == "Preprocessing"
