"""The sum of what pods are given has a bound, and what is within it can start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.core.world import manifest
from trainingjob.api.errors import check_manifest
from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.api.size import MOST_BYTES
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages

# MAX_ARG_STRLEN of Linux: one string of exec, with its name and the NUL at its end.
LINUX_TAKES = 131072


def features(count: int, length: int = 253) -> dict[str, Any]:
    names = [f"{number:04d}".ljust(length, "x") for number in range(count)]
    return {"task": {"type": "classification", "label": "target", "features": names}}


def train(**fields: Any) -> dict[str, Any]:
    return {"train": {"nodes": 1000, **fields}}


def preprocess(**fields: Any) -> dict[str, Any]:
    given = {"uri": "pvc://datasets/in.csv", "format": "csv"}
    return {"preprocess": {"engine": "pandas", "input": given, **fields}}


def env(count: int, length: int) -> list[dict[str, str]]:
    return [{"name": f"V{number}", "value": "x" * length} for number in range(count)]


MLP = {"mlp": {"hidden": [64]}}
TOO_LARGE = [
    ("600 names of columns", features(600, 220), "spec.task.features", "leave"),
    ("as many as the API takes", features(4096), "spec.task.features", "leave"),
    (
        "a script beside its arguments",
        train(script={"inline": "#" * 65536}, args=["a" * 4096] * 10),
        "spec.train.script.inline",
        "ConfigMap",
    ),
    (
        "a command",
        train(command=["x" * 4096] * 256),
        "spec.train.command",
        "image or a script",
    ),
    ("arguments", train(command=["x"], args=["x" * 4096] * 256), "spec.train.args", "volume"),
    (
        "arguments that name a variable again and again",
        train(command=["x"], args=["$(A)" * 200, "$(A)" * 57]),
        "spec.train.args",
        "in the code",
    ),
    ("variables", train(model=MLP, env=env(256, 4000)), "spec.train.env", "envFrom"),
    (
        "steps",
        preprocess(steps=[{"filter": {"where": "x > " + "1" * 8000}}] * 20),
        "spec.preprocess.steps",
        "script",
    ),
    (
        "Spark's settings",
        preprocess(engine="spark", sparkConf={f"spark.x{n}": "x" * 4096 for n in range(200)}),
        "spec.preprocess.sparkConf",
        "shorten it",
    ),
    (
        "a script of quotes, which are two characters in JSON",
        preprocess(script={"inline": '"' * 65536}),
        "spec.preprocess.script.inline",
        "ConfigMap",
    ),
    (
        "a script in another alphabet, of which a letter is two bytes",
        preprocess(script={"inline": "я" * 65536}),
        "spec.preprocess.script.inline",
        "ConfigMap",
    ),
    (
        "variables of the evaluation",
        {"evaluate": {"env": env(20, 32768)}},
        "spec.evaluate.env",
        "envFrom",
    ),
]


@pytest.mark.parametrize(
    ("what", "spec", "field", "remedy"), TOO_LARGE, ids=[case[0] for case in TOO_LARGE]
)
def test_a_manifest_that_pods_cannot_be_given_is_refused(
    what: str, spec: dict[str, Any], field: str, remedy: str
) -> None:
    job, problems = check_manifest(manifest(**spec))

    assert job is None
    (problem,) = problems
    assert field.startswith(problem.field)
    assert remedy in problem.message
    assert len(problem.message) < 500


LARGE = [
    ("400 names of columns", features(400, 220)),
    ("4096 names of columns", features(4096, 20)),
    ("a script", train(script={"inline": "x = 1\n" * 10000})),
    ("a script and arguments", train(script={"inline": "$" * 60000}, args=["$" * 4000] * 9)),
    ("as many names of variables as there may be", train(command=["x"], args=["$(A)" * 256])),
    ("variables", train(model=MLP, env=env(3, 32768))),
    ("steps", preprocess(steps=[{"filter": {"where": "x > " + "1" * 8000}}] * 12)),
    (
        "Spark, whose executors have variables and volumes, too",
        preprocess(engine="spark", env=env(3, 32768)),
    ),
    ("a script of quotes", preprocess(script={"inline": '"' * 50000})),
]


@pytest.mark.parametrize(("what", "spec"), LARGE, ids=[case[0] for case in LARGE])
def test_what_is_accepted_can_start(what: str, spec: dict[str, Any]) -> None:
    made = manifest(**spec)
    made["spec"]["storage"] = {"uri": "pvc://training/" + "d" * 1000}
    job, problems = check_manifest(made)

    assert job is not None, problems
    for stage in stages.of(job):
        (pod,) = stage.pods(job, 1, Settings(), [0])
        (container,) = pod["spec"]["containers"]
        for variable in container["env"]:
            told = variable.get("value", "").replace("$$", "$")
            assert len(f"{variable['name']}={told}\0".encode()) <= LINUX_TAKES
        assert len(json.dumps(pod)) < 4 * MOST_BYTES


def test_pods_of_an_attempt_share_what_they_are_told() -> None:
    job = TrainingJob.from_dict(manifest(**train(model=MLP)))
    pods = stages.named("train").pods(job, 1, Settings())

    assert len(pods) == 1000
    told = {
        id(variable["value"])
        for pod in pods
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] == STAGE_PAYLOAD
    }
    assert len(told) == 1
