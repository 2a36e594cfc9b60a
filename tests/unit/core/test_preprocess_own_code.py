"""Own code before the steps: what the pod that runs it has, and what its executors have not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainingjob.api.payload import STAGE_PAYLOAD, PreprocessPayload
from trainingjob.core import Settings, stages

from .world import job

INPUT = {"uri": "pvc://datasets/in.csv", "format": "csv"}


def pod(**preprocess: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The spec of the driver, or of the pandas pod, and its payload."""
    made = job(preprocess={"input": INPUT, **preprocess})
    (found,) = stages.named("preprocess").pods(made, 1, Settings())
    env = {one["name"]: one.get("value", "") for one in found["spec"]["containers"][0]["env"]}
    return found["spec"], json.loads(env[STAGE_PAYLOAD].replace("$$", "$"))


def claims(spec: dict[str, Any]) -> set[str]:
    found = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    return {claim["claimName"] for claim in found}


def test_its_code_is_found_as_that_of_training_is() -> None:
    spec, told = pod(
        engine="pandas",
        code={"configMap": {"name": "clean"}, "workingDir": "src", "main": "a.py"},
        requirements={"packages": ["shapely"]},
    )
    assert {"name": "clean"} in [v.get("configMap") for v in spec["volumes"]]
    assert told["code"] == {"path": "$(TRAININGJOB_CODE_FILES)"}
    assert (told["workingDir"], told["main"]) == ("src", "a.py")
    assert told["requirements"]["packages"] == ["shapely"]
    assert told["requirements"]["wheels"].endswith("/team/.wheels")


@pytest.mark.parametrize("engine", ["pandas", "spark"])
def test_its_folder_is_the_drivers_alone(engine: str) -> None:
    spec, told = pod(engine=engine, code={"uri": "pvc://sources/repo"})
    assert "sources" in claims(spec)
    assert told["code"] == {"uri": "pvc://sources/repo"}
    if engine == "spark":  # which sends its executors what they import
        executor = told["kubernetes"]["executorTemplate"]["spec"]
        assert claims(executor) == claims(spec) - {"sources"}


def test_an_image_of_the_version_before_understands_jobs_without_the_new_fields() -> None:
    _, told = pod(engine="pandas", script={"inline": "pass"})
    new = {"code", "workingDir", "main", "requirements"}
    assert not new & {*told}
    assert PreprocessPayload.model_validate(told).own_code
