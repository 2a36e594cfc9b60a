"""What an evaluation means for the job."""

from __future__ import annotations

import copy
import json

import pytest

from .world import RESULTS, ended, world


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
