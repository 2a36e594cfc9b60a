"""Rows are predicted by the model that passed, and by no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST
from tests.unit.core.world import RESULTS, RUN, World, ended, failed, manifest
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.api.v1alpha1.reasons import remedy_of_accepted
from trainingjob.core import Settings, stages
from trainingjob.core.names import accepted_model_uri
from trainingjob.local.claims import used_by

URI = accepted_model_uri(TrainingJob.from_dict(manifest()), DIGEST, "sha256:1")
INPUT = {"uri": "pvc://new/rows.csv", "format": "csv"}
GIVEN = {"uri": "pvc://training/runs/a/b/accepted/c", "digest": DIGEST}


def predicting(**more: Any) -> World:
    return World(manifest(predict={"input": INPUT, **more}))


def judged(world: World, accuracy: float = 0.95) -> World:
    """Until the verdict."""
    world.settle()
    for stage in ("preprocess", "train"):
        world.finish(stage)
    for pod in world.of("evaluate"):
        metrics = [{"name": "accuracy", "value": accuracy}]
        result = RESULTS["evaluate"] | {"metrics": metrics, "modelDigest": DIGEST}
        ended(pod, 1, message=json.dumps({"result": result}))
    # The model that train has left is the one that was judged.
    for stage in world.status["stages"]:
        if stage["name"] == "train":
            stage["outputs"]["digest"] = DIGEST
    return world


def payload_of(pod: dict[str, Any]) -> dict[str, Any]:
    env = {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}
    return dict(json.loads(env["TRAININGJOB_STAGE"]))


def claims_of(pod: dict[str, Any]) -> list[str]:
    volumes = pod["spec"]["volumes"]
    return [
        v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
    ]


def test_it_begins_once_status_has_the_model_that_was_accepted() -> None:
    it = judged(predicting(keep=["id"], unpredictable="null"))
    it.act()
    assert not it.of("predict"), "the verdict is not stored yet"
    it.settle()
    (pod,) = it.of("predict")
    assert (it.status["phase"], it.stage("predict")["phase"]) == ("Predicting", "Running")
    assert payload_of(pod) == {
        "stage": "predict",
        "job": {"namespace": "team", "name": "digits", "uid": "uid-1"},
        "attempt": 1,
        "modelUri": URI,
        "digest": DIGEST,
        "input": INPUT,
        "output": f"{RUN}/predictions",
        "keep": ["id"],
        "unpredictable": "null",
    }
    assert claims_of(pod) == ["training", "new"]
    assert pod["spec"]["automountServiceAccountToken"] is False

    counts = {"predicted": 7, "unpredicted": 1}
    outputs = {"uri": f"{RUN}/predictions", "digest": "sha256:4", "rows": counts}
    ended(pod, 2, message=json.dumps({"result": {"outputs": outputs}}))
    it.settle()
    assert (it.status["phase"], it.status["reason"]) == ("Succeeded", "Completed")
    assert it.stage("predict")["outputs"] == outputs


def test_a_model_that_did_not_pass_predicts_nothing() -> None:
    it = judged(predicting(), accuracy=0.5)
    it.settle()
    assert (it.status["phase"], it.status["reason"]) == ("Failed", "GateFailed")
    assert not it.of("predict")


@pytest.mark.parametrize(
    ("more", "wanted"),
    [({}, ["predict"]), ({"deploy": {"deployment": {}, "model": GIVEN}}, ["deploy", "predict"])],
)
def test_a_job_without_training_predicts_by_the_model_that_it_names(
    more: dict[str, Any], wanted: list[str]
) -> None:
    predict: dict[str, Any] = {"input": INPUT, "output": "s3://results/digits"}
    predict |= {} if more else {"model": GIVEN}
    none = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
    job = TrainingJob.from_dict(manifest(**none, **more, predict=predict))
    assert stages.names_of(job) == wanted
    room = stages.named("predict")
    (pod,) = room.pods(job, 1, Settings())
    told = payload_of(pod)
    assert (told["modelUri"], told["digest"]) == (GIVEN["uri"], DIGEST)
    assert (told["output"], room.output_uri(job)) == ("s3://results/digits",) * 2
    assert used_by(job) == ["training", "new"]
    assert room.reads(job) == [INPUT["uri"]]


@pytest.mark.parametrize("reason", ["ModelCorrupt", "InputMalformed", "StepFailed"])
def test_a_failure_says_what_to_do_where_a_model_was_accepted(reason: Any) -> None:
    it = judged(predicting())
    it.settle()
    (pod,) = it.of("predict")
    failed(pod, 2, reason)
    it.settle()
    assert (it.status["phase"], it.status["reason"]) == ("Failed", reason)
    assert it.status["message"] == f"{reason} happened; {remedy_of_accepted(reason)}"
    assert it.status["lastFailure"]["message"] == it.status["message"]
