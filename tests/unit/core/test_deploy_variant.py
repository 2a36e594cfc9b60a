"""A model is served, and predicts, in the form that is named, unless evaluation has refused it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST, ON, Serving, deploying
from tests.unit.core.test_predict import INPUT, payload_of
from tests.unit.core.world import RESULTS, World, ended, manifest
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import stages
from trainingjob.core.kinds import INFERENCE_SERVICE
from trainingjob.core.names import ANNOTATION_PREVIOUS
from trainingjob.core.observation import Settings

EXPORT: dict[str, Any] = {"formats": ["onnx"], "quantize": {"int8": {}}}
GIVEN = {"uri": "pvc://training/runs/a/b/accepted/c", "digest": DIGEST}
NOTE = "trainingjob.dev/model-variant"
LOST = "it loses more than 0.01 of a metric: accuracy 0.8 after 0.95"
BOTH = {"onnx": "", "int8": ""}


def exporting(job: dict[str, Any]) -> dict[str, Any]:
    job["spec"]["train"]["export"] = EXPORT
    return job


def serving(**deploy: Any) -> Serving:
    it = Serving(exporting(deploying(**deploy)))
    it.settle()
    return it


def judged(it: World, variants: dict[str, str] | None, digest: str = DIGEST) -> None:
    """The model is accepted; ``variants``: why each was refused, "" for one that was not."""
    told = [
        {"name": name, "bytes": 9, "accepted": not words, "message": words}
        for name, words in (variants or {}).items()
    ]
    for stage in ("preprocess", "train", "evaluate"):
        for pod in it.of(stage):
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                continue
            result = copy.deepcopy(RESULTS[stage])
            if stage == "evaluate":
                result |= {"modelDigest": digest}
                result |= {} if variants is None else {"variants": told}
            if stage == "train":
                result["outputs"]["digest"] = digest
            ended(pod, it.seconds + 1, message=json.dumps({"result": result}))
        it.seconds += 2
        it.settle()


def condition(it: World) -> dict[str, Any]:
    found: list[dict[str, Any]] = it.status["conditions"]
    return next(one for one in found if one["type"] == "Deployed")


def test_the_pods_are_told_which_form_they_serve_and_status_says_so() -> None:
    it = serving(variant="int8")
    judged(it, {"onnx": LOST, "int8": ""})
    assert it.payload["variant"] == "int8"
    assert it.payload["digest"] == DIGEST
    for obj in (it.deployment, it.deployment["spec"]["template"]):
        assert obj["metadata"]["annotations"][NOTE] == "int8"
    it.rolled()
    assert it.status["phase"] == "Succeeded"
    assert it.status["deployment"]["variant"] == "int8"
    assert it.rests()


def test_without_a_name_nothing_of_it_is_there() -> None:
    it = serving()
    judged(it, {"onnx": LOST, "int8": LOST})
    it.rolled()
    assert "variant" not in it.payload
    assert NOTE not in json.dumps(it.deployment)
    assert "variant" not in it.status["deployment"]
    assert it.status["phase"] == "Succeeded"


UNAVAILABLE: dict[str, tuple[dict[str, str] | None, str]] = {
    "it was refused": (
        {"onnx": "", "int8": LOST},
        f"variant int8 was refused: {LOST}; there is onnx, and the model itself; name another",
    ),
    "all were refused": (
        {"onnx": LOST, "int8": LOST},
        f"variant int8 was refused: {LOST}; there is no other variant, and the model itself; name",
    ),
    "evaluation of an earlier version says nothing": (
        None,
        "variant int8 was not made when the model was judged; there is no other variant, and the",
    ),
}


@pytest.mark.parametrize("case", UNAVAILABLE)
@pytest.mark.parametrize("stage", ["deploy", "predict"])
def test_one_that_is_not_there_is_told_before_anything_is_made(stage: str, case: str) -> None:
    variants, words = UNAVAILABLE[case]
    it: World = serving(variant="int8")
    if stage == "predict":
        it = World(exporting(manifest(predict={"input": INPUT, "variant": "int8"})))
        it.settle()
    judged(it, variants)
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "VariantUnavailable"]
    assert it.status["message"].startswith(words), it.status["message"]
    assert it.status["lastFailure"]["stage"] == stage
    assert it.status["lastFailure"]["class"] == "verdict"
    assert not it.of("predict")
    assert not (isinstance(it, Serving) and it.objects)
    assert it.status["evaluation"]["passed"], "the model itself is accepted"


def test_the_form_before_is_gone_back_to_though_it_is_of_the_same_model() -> None:
    it = serving()
    judged(it, BOTH)
    it.rolled()
    template = copy.deepcopy(it.deployment["spec"]["template"])
    it.manifest["spec"]["deploy"]["variant"] = "int8"
    it.again()
    assert condition(it)["reason"] == "OtherModel"
    judged(it, BOTH)
    notes = it.deployment["metadata"]["annotations"]
    assert (notes[NOTE], json.loads(notes[ANNOTATION_PREVIOUS])) == ("int8", template)
    it.crashes("SelfTestFailed")
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "RolloutFailed"]
    assert f"; {DIGEST} is served again; " in it.status["message"]
    assert it.deployment["spec"]["template"] == template
    assert NOTE not in it.deployment["metadata"]["annotations"]
    assert "variant" not in it.status["deployment"]


def test_a_variant_that_was_served_before_is_named_when_it_is_gone_back_to() -> None:
    it = serving(variant="int8")
    judged(it, BOTH)
    it.rolled()
    it.manifest["spec"]["deploy"]["variant"] = "onnx"
    it.again()
    assert condition(it)["message"].endswith(f"they serve {DIGEST} as int8")
    judged(it, BOTH)
    assert it.status["deployment"]["previous"]["variant"] == "int8"
    it.crashes("SelfTestFailed")
    it.settle()
    assert f"; {DIGEST} as int8 is served again; " in it.status["message"]
    assert it.status["deployment"]["variant"] == "int8"


def test_kserve_has_the_form_in_its_predictor() -> None:
    job = exporting(manifest(deploy={"kserve": {}, "variant": "onnx"}))
    room = stages.named("deploy")
    settings = Settings(deploys=True, kserve="there")
    (made,) = room.others(TrainingJob.from_dict(job), settings)
    assert made["kind"] == INFERENCE_SERVICE.name
    predictor = made["spec"]["predictor"]
    assert predictor["annotations"][NOTE] == made["metadata"]["annotations"][NOTE] == "onnx"
    (told,) = [
        json.loads(v["value"])
        for v in predictor["containers"][0]["env"]
        if v["name"] == "TRAININGJOB_STAGE"
    ]
    assert told["variant"] == "onnx"


@pytest.mark.parametrize("stage", ["deploy", "predict"])
def test_of_a_model_of_another_job_its_folder_tells(stage: str) -> None:
    none = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
    more = {
        "predict": {"input": INPUT, "model": GIVEN},
        "deploy": {"deployment": {}, "model": GIVEN},
    }
    spec = {stage: {**more[stage], "variant": "int8"}}
    job = manifest(**none, **spec)
    it: World = World(job)
    if stage == "deploy":
        it = Serving(job, settings=ON)
    it.settle()
    if isinstance(it, Serving):
        assert it.payload["variant"] == "int8"
        it.crashes("VariantUnavailable")
        it.settle()
        assert it.status["reason"] == "RolloutFailed"
        assert it.status["message"].startswith("VariantUnavailable: ")
        return
    (pod,) = it.of("predict")
    assert payload_of(pod)["variant"] == "int8"
