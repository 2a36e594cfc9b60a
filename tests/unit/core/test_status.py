"""How a job stands, situation by situation."""

from __future__ import annotations

import json

from trainingjob.core import Blocker, plan, status

from .world import RESULTS, World, at, ended, failed, manifest, running, stamp, succeeded, world


def test_a_new_job_is_pending_and_gets_its_first_pod():
    w = World()
    todo = plan(w.observe(), at(0))
    made = [child["metadata"]["name"] for child in todo.create]
    assert made == ["digits-stages", "digits-preprocess-1-0"]
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
        "NetworkPolicy digits-stages",
        "digits-preprocess-1-0",
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
    made = ["NetworkPolicy digits-stages", "digits-train-1-0"]
    assert w.created == made, "a gang of one needs no Service"
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
