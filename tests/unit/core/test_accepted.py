"""What a later run is held to is what status has of the last accepted model, not what pods tell."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from trainingjob.api.payload import STAGE_PAYLOAD

from .world import RESULTS, World, ended, world

GATES = [
    {"metric": "accuracy", "noWorseThan": "lastAccepted", "tolerance": 0.01},
    {"metric": "f1_macro", "noWorseThan": "lastAccepted"},
    {"metric": "log_loss", "noWorseThan": "lastAccepted"},
]
RECORD = "pvc://training/runs/team/digits/accepted"


def judged(w: World, accuracy: float, baseline: dict[str, float] | None = None) -> dict[str, Any]:
    """The run's end, of which the pods tell such a ``baseline``; the status."""
    result = copy.deepcopy(RESULTS["evaluate"])
    result["metrics"][0]["value"] = accuracy
    result["metrics"].append({"name": "log_loss", "value": 0.5})
    if baseline is not None:
        result["baseline"] = {"metrics": baseline, "datasetDigest": "sha256:0"}
    message = json.dumps({"result": result})
    w.finish("evaluate", lambda pod, seconds: ended(pod, seconds, message=message))
    return w.status


def accepted(gates: list[dict[str, Any]] | None = None) -> World:
    """A job whose model of accuracy 0.95 was accepted."""
    w = world(evaluate={"gates": GATES if gates is None else gates})
    w.finish("preprocess")
    w.finish("train")
    assert judged(w, 0.95)["phase"] == "Succeeded"
    return w


def again(w: World, number: int = 1) -> dict[str, Any]:
    """Run its training again; what its evaluation is told."""
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": f"train:{number}"}
    w.settle()
    w.finish("train")
    *_, pod = w.of("evaluate")
    env = {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}
    told: dict[str, Any] = json.loads(env[STAGE_PAYLOAD].replace("$$", "$"))
    return told


def test_status_has_the_last_accepted_model() -> None:
    w = accepted()
    assert w.status["accepted"] == {
        "uri": RECORD,
        "metrics": [
            {"name": "accuracy", "value": 0.95},
            {"name": "f1_macro", "value": 0.94},
            {"name": "log_loss", "value": 0.5},
        ],
        "modelDigest": "sha256:2",
        "datasetDigest": "sha256:1",
    }
    told = again(w)
    known = {"accuracy": 0.95, "f1_macro": 0.94, "log_loss": 0.5}
    assert told["baseline"] == {"metrics": known, "datasetDigest": "sha256:1"}
    kept = w.status["accepted"]
    assert judged(w, 0.5, known)["reason"] == "GateFailed"
    assert w.status["accepted"] == kept, "what did not pass is no model to be held to"
    again(w, 2)
    assert judged(w, 0.97, known)["phase"] == "Succeeded"
    assert w.status["accepted"]["metrics"][0] == {"name": "accuracy", "value": 0.97}


@pytest.mark.parametrize(
    "told",
    [None, {}, {"accuracy": 0.0}, {"accuracy": 0.0, "f1_macro": 0.0}, {"other": 1.0}],
    ids=str,
)
def test_a_record_that_was_changed_or_removed_changes_no_verdict(
    told: dict[str, float] | None,
) -> None:
    w = accepted()
    again(w)
    status = judged(w, 0.87, told)
    assert (status["phase"], status["reason"]) == ("Failed", "GateFailed")
    words = "accuracy 0.87 is worse than 0.95 of the last accepted model by more than 0.01"
    assert words in status["message"]


def test_of_a_metric_that_status_does_not_have_the_record_is_taken() -> None:
    w = accepted(gates=[])
    w.manifest["status"]["accepted"]["metrics"] = [{"name": "accuracy", "value": 0.95}]
    w.manifest["spec"]["evaluate"]["gates"] = GATES
    again(w)
    status = judged(w, 0.95, {"accuracy": 0.1, "f1_macro": 0.99})
    assert "f1_macro 0.94 is worse than 0.99" in status["message"]
    past = {one["name"]: one.get("baseline") for one in status["evaluation"]["metrics"]}
    assert past == {"accuracy": 0.95, "f1_macro": 0.99, "log_loss": None}


def test_without_such_gates_and_at_another_place_nothing_is_told() -> None:
    assert "baseline" not in again(accepted(gates=[{"metric": "accuracy", "min": 0.5}]))
    w = accepted()
    w.manifest["status"]["accepted"]["uri"] = "pvc://elsewhere/team/digits/accepted"
    assert "baseline" not in again(w)
    assert judged(w, 0.1)["phase"] == "Succeeded"


def test_a_job_that_an_older_operator_has_judged_is_held_to_its_verdict() -> None:
    w = accepted()
    del w.manifest["status"]["accepted"]
    assert again(w)["baseline"]["metrics"]["accuracy"] == 0.95


def test_what_did_not_pass_leaves_nothing() -> None:
    w = world(evaluate={"gates": [{"metric": "accuracy", "min": 0.9}]})
    w.finish("preprocess")
    w.finish("train")
    assert judged(w, 0.5)["reason"] == "GateFailed"
    assert "accepted" not in w.status
