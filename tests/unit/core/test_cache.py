"""Which stages the cache serves, and what the core tells their pods of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core import Settings, stages

from .world import RESULTS, ended, job, manifest, running, world

PINNED = "ghcr.io/me/torch@sha256:" + "0" * 64
TAGGED = "ghcr.io/me/torch:1"
ON = {"cache": True}
INPUT = {"input": {"uri": "pvc://datasets/digits.csv", "format": "csv"}}
SCRIPT = {"script": {"inline": "print()"}}
BUILT_IN = {"model": {"mlp": {}}}
SECRET = {"envFrom": [{"secretRef": {"name": "s3"}}]}
VOLUMES = {"template": {"volumes": [{"name": "code", "persistentVolumeClaim": {"claimName": "c"}}]}}

SERVED: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "a built-in model": ("train", BUILT_IN, None),
    "a built-in model in an image by digest": ("train", BUILT_IN | {"image": PINNED}, None),
    "a built-in model in an image by tag": ("train", BUILT_IN | {"image": TAGGED}, "digest"),
    "a built-in model with envFrom": ("train", BUILT_IN | SECRET, None),
    "a built-in model with volumes": ("train", BUILT_IN | VOLUMES, None),
    "a script": ("train", SCRIPT, None),
    "a script in an image by digest": ("train", SCRIPT | {"image": PINNED}, None),
    "a script in an image by tag": ("train", SCRIPT | {"image": TAGGED}, "digest"),
    "a script with envFrom": ("train", SCRIPT | SECRET, "envFrom"),
    "a script with volumes": ("train", SCRIPT | VOLUMES, "volumes"),
    "a command": ("train", {"command": ["torchrun"]}, None),
    "a command with envFrom": ("train", {"command": ["torchrun"]} | SECRET, "envFrom"),
    "an image as it stands": ("train", {"command": ["x"], "image": PINNED}, "as it stands"),
    "steps": ("preprocess", {"steps": [{"dropna": {}}]}, None),
    "steps with envFrom and volumes": ("preprocess", SECRET | VOLUMES, None),
    "steps in an image by tag": ("preprocess", {"image": TAGGED}, "digest"),
    "a script before the steps": ("preprocess", SCRIPT, None),
    "a script before the steps, with envFrom": ("preprocess", SCRIPT | SECRET, "envFrom"),
    "a script before the steps, with volumes": ("preprocess", SCRIPT | VOLUMES, "volumes"),
}


def made(stage: str, fields: dict[str, Any], policy: dict[str, Any] | None = None) -> Any:
    spec = {stage: (INPUT if stage == "preprocess" else {}) | fields}
    return job(**spec, policy=ON if policy is None else policy)


def payload(of: Any, stage: Any, index: int = 0) -> dict[str, Any]:
    container = stages.named(stage).pods(of, 1, Settings())[index]["spec"]["containers"][0]
    return json.loads({v["name"]: v.get("value") for v in container["env"]}[STAGE_PAYLOAD])


@pytest.mark.parametrize(("stage", "fields", "why"), SERVED.values(), ids=SERVED)
def test_equal_keys_must_mean_equal_results(
    stage: Any, fields: dict[str, Any], why: str | None
) -> None:
    told = stages.named(stage).not_cached(made(stage, fields))
    assert ("cache" in payload(made(stage, fields), stage)) == (why is None)
    assert (told is None) == (why is None)
    assert why is None or (told is not None and why in told)


@pytest.mark.parametrize("policy", [{}, {"cache": False}], ids=["unset", "false"])
def test_the_cache_is_asked_for(policy: dict[str, Any]) -> None:
    of = made("train", BUILT_IN, policy)
    for stage in stages.of(of):
        assert "cache" not in payload(of, stage.name)
        assert stage.not_cached(of) is None


def test_a_stage_that_is_to_be_run_again_is_computed() -> None:
    w = world(policy=ON)
    for stage in stages.names_of(w.observe().job):
        w.finish(stage)
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    w.settle()
    of = w.observe().job
    assert "cache" not in payload(of, "train")
    assert stages.named("train").not_cached(of) == "somebody asked for it to be run again"
    assert "cache" in payload(of, "preprocess")


def test_an_evaluation_is_always_made() -> None:
    assert "cache" not in payload(made("train", BUILT_IN), "evaluate")


def test_jobs_of_a_namespace_and_storage_share_their_records() -> None:
    of = made("train", BUILT_IN | {"nodes": 2})
    assert payload(of, "preprocess")["cache"]["records"] == (
        "pvc://training/runs/team/.cache/preprocess"
    )
    assert payload(of, "train", 1)["cache"] == payload(of, "train", 0)["cache"]
    assert payload(of, "train")["cache"]["records"] == "pvc://training/runs/team/.cache/train"
    assert payload(of, "train")["cache"]["decision"].endswith("/runs/team/digits/.cache.json")
    assert "decision" not in payload(made("train", BUILT_IN), "train")["cache"]


CONDITIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "another image": ({"image": PINNED}, True),
    "a variable": ({"env": [{"name": "A", "value": "1"}]}, True),
    "another value of it": ({"env": [{"name": "A", "value": "2"}]}, True),
    "a GPU": ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, True),
    "two GPUs": ({"resources": {"limits": {"nvidia.com/gpu": 2}}}, True),
    "more memory": ({"resources": {"limits": {"memory": "2Gi", "cpu": 2}}}, False),
    "another node": ({"template": {"nodeSelector": {"disk": "ssd"}}}, False),
}


def test_image_variables_and_devices_count() -> None:
    plain = payload(made("train", BUILT_IN), "train")["cache"]["conditions"]
    found = {
        name: payload(made("train", BUILT_IN | fields), "train")["cache"]["conditions"]
        for name, (fields, _) in CONDITIONS.items()
    }
    assert {name: value != plain for name, value in found.items()} == {
        name: counts for name, (_, counts) in CONDITIONS.items()
    }
    assert len({plain, *found.values()}) == 6


def test_a_restored_gang_succeeds_and_pods_that_still_run_are_no_failure() -> None:
    w = world(preprocess=None, train=manifest()["spec"]["train"] | {"dataset": {"uri": "pvc://d"}})
    first, second = w.of("train")
    running(second, 0)
    w.seconds += 1
    ended(first, 1, message=json.dumps({"result": RESULTS["train"] | {"cached": True}}))
    w.settle()
    assert w.stage("train")["phase"] == "Succeeded"
    assert w.stage("train")["cached"] is True
    ended(second, 2, code=143)
    w.settle()
    w.finish("evaluate")
    assert w.status["phase"] == "Succeeded"
    assert "lastFailure" not in w.status
    assert "cached" not in w.stage("evaluate")
