"""Own code that judges: what its pod has, and what of its metrics becomes the verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .world import RESULTS, World, ended, world

SCRIPT = {"inline": "print(1)"}


def judging(**evaluate: Any) -> World:
    w = world(evaluate=evaluate)
    w.finish("preprocess")
    w.finish("train")
    return w


def container(w: World) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Of the pod: its spec, the variables and the payload."""
    (pod,) = w.of("evaluate")
    env = {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}
    told = env["TRAININGJOB_STAGE"].replace("$$", "$")
    return pod["spec"], env, json.loads(told)


def test_its_pod_is_confined_as_that_of_training_is() -> None:
    w = judging(script=SCRIPT)
    spec, env, told = container(w)
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    security = spec["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert told["script"] == SCRIPT
    assert told["metrics"] == []
    assert env["TRAININGJOB_INPUT_DIR"].endswith("/team/digits/dataset")
    assert env["TRAININGJOB_SEED"] == "0"
    assert env["TRAININGJOB_MODEL_DIGEST"]


def test_its_code_is_found_as_that_of_training_is() -> None:
    spec, env, told = container(
        judging(
            code={"configMap": {"name": "judge"}, "workingDir": "src", "main": "a.py"},
            requirements={"packages": ["torchmetrics"]},
            args=["--fast"],
        )
    )
    assert {"name": "judge"} in [v.get("configMap") for v in spec["volumes"]]
    assert env["TRAININGJOB_CODE_FILES"] == "/etc/trainingjob/code"
    assert told["code"] == {"path": "$(TRAININGJOB_CODE_FILES)"}
    assert (told["workingDir"], told["main"], told["args"]) == ("src", "a.py", ["--fast"])
    assert told["requirements"]["packages"] == ["torchmetrics"]
    assert told["requirements"]["wheels"].endswith("/team/.wheels")
    spec, _, told = container(judging(code={"uri": "pvc://sources/repo"}, command=["./judge"]))
    assert "sources" in [
        v["persistentVolumeClaim"]["claimName"]
        for v in spec["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert told["command"] == ["./judge"]


@pytest.mark.parametrize(("value", "phase"), [(0.9, "Succeeded"), (0.7, "Failed")])
def test_its_numbers_pass_the_gates_as_ours_do(value: float, phase: str) -> None:
    w = judging(script=SCRIPT, gates=[{"metric": "dice", "min": 0.8}])
    told = [{"name": "dice", "value": value}, {"name": "iou", "value": 0.5}]

    def ends(pod: dict[str, Any], seconds: float) -> None:
        ended(pod, seconds, message=json.dumps({"result": RESULTS["evaluate"] | {"metrics": told}}))

    w.finish("evaluate", ends)
    assert w.status["phase"] == phase
    found = w.status["evaluation"]["metrics"]
    assert [(m["name"], m.get("passed")) for m in found] == [("dice", value > 0.8), ("iou", None)]
    if phase == "Failed":
        assert "dice 0.7 is below 0.8" in w.status["message"]


def test_training_looks_for_a_model_that_can_be_judged_only_where_it_is_judged_here() -> None:
    cases: list[tuple[dict[str, Any], bool]] = [({"script": SCRIPT}, False), ({}, True)]
    for evaluate, needed in cases:
        w = world(evaluate=evaluate)
        w.finish("preprocess")
        pod = w.of("train")[0]
        env = {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}
        assert json.loads(env["TRAININGJOB_STAGE"].replace("$$", "$"))["needsModel"] is needed
