"""The examples are valid manifests, and say what their READMEs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cli.manifest import read
from trainingjob.core import Settings, stages

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.rglob("*.yaml"))


def documents(path: Path, kind: str) -> list[dict[str, Any]]:
    return [document.value for document in read(str(path)) if document.kind == kind]


def jobs(path: Path) -> list[TrainingJob]:
    return [TrainingJob.from_dict(one) for one in documents(path, "TrainingJob")]


def test_there_are_examples() -> None:
    assert {path.parent.name for path in FILES} >= {"digits", "diabetes", "own-code"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_document_is_a_job_or_a_config_map_that_one_uses(path: Path) -> None:
    found = jobs(path)
    maps = {
        (one["metadata"]["name"], key)
        for one in documents(path, "ConfigMap")
        for key in one["data"]
    }
    assert found
    assert len(read(str(path))) == len(found) + len(documents(path, "ConfigMap"))
    scripts = [
        script.config_map
        for job in found
        for script in (job.spec.preprocess and job.spec.preprocess.script, job.spec.train.script)
        if script and script.config_map
    ]
    assert {(script.name, script.key) for script in scripts} == maps


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_is_explained_and_reads_data_that_make_data_writes(path: Path) -> None:
    readme = (path.parent / "README.md").read_text(encoding="utf-8")
    maker = (EXAMPLES / "make_data.py").read_text(encoding="utf-8")
    assert f"examples/{path.relative_to(EXAMPLES)}" in readme
    for job in jobs(path):
        assert job.spec.preprocess is not None
        name = job.spec.preprocess.input.uri.partition("://")[2].partition("datasets/")[2]
        assert f'"{path.parent.name}/datasets/{name}"' in maker
        assert job.spec.evaluate is not None
        assert job.spec.evaluate.gates


def test_the_workers_of_tensorflow_have_each_other_by_name() -> None:
    """As the example's pods are made: each has all names, and its own is one of them."""
    (job,) = jobs(EXAMPLES / "tensorflow" / "job.yaml")
    pods = stages.named("train").pods(job, 1, Settings(), range(job.spec.train.nodes))
    names = [f"{pod['spec']['hostname']}.{pod['spec']['subdomain']}:29502" for pod in pods]
    for index, pod in enumerate(pods):
        env = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        config = json.loads(env["TF_CONFIG"])
        assert config["cluster"] == {"worker": names}
        assert config["task"] == {"type": "worker", "index": index}
        assert env["TF_USE_LEGACY_KERAS"] == "1"


def test_names_of_jobs_are_unique() -> None:
    names = [job.metadata.name for path in FILES for job in jobs(path)]
    assert len(names) == len(set(names))


def test_both_jobs_of_own_code_have_the_same_code() -> None:
    (inline,) = jobs(EXAMPLES / "own-code" / "job.yaml")
    (config_map,) = documents(EXAMPLES / "own-code" / "torchrun.yaml", "ConfigMap")
    assert inline.spec.preprocess is not None
    assert inline.spec.preprocess.script is not None
    assert inline.spec.train.script is not None
    assert config_map["data"]["train.py"] == inline.spec.train.script.inline
    assert config_map["data"]["preprocess.py"] == inline.spec.preprocess.script.inline


@pytest.mark.parametrize("key", ["train.py", "preprocess.py"])
def test_own_code_needs_nothing_of_ours(key: str) -> None:
    (config_map,) = documents(EXAMPLES / "own-code" / "torchrun.yaml", "ConfigMap")
    source = config_map["data"][key]
    compile(source, key, "exec")
    assert "import trainingjob" not in source
    assert "from trainingjob" not in source
