"""The CRD on an API server: defaults, what may change, what kubectl shows, and quiet re-applies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.unit.api.corpus import GOOD, defaulted, each_good, good
from trainingjob.api.crd import crd
from trainingjob.api.errors import check_manifest
from trainingjob.api.stored import read_stored
from trainingjob.api.v1alpha1 import Status, TrainingJob

from .crd import API, FILES, STATUS, Jobs


@pytest.fixture(scope="module")
def shared(control_plane: ControlPlane) -> Jobs:
    """For tests that leave each other's jobs alone."""
    return Jobs(control_plane, control_plane.namespace())


# --- defaults ---------------------------------------------------------------------------------


@each_good
def test_the_server_stores_what_pydantic_makes_of_a_good_manifest(name: str, shared: Jobs) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None
    created = shared.create(GOOD[name], name=name)

    stored = shared.get(name)

    # Items of lists get their defaults when they are read: see crd.py.
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert stored["spec"] == created["spec"] == defaulted(GOOD[name]["spec"], schema)
    read = read_stored(json.dumps(stored).encode())
    assert isinstance(read, TrainingJob)
    assert (read.spec, read.status) == (job.spec, Status())


def test_a_job_without_status_has_the_status_that_pydantic_gives_it(jobs: Jobs) -> None:
    jobs.create(GOOD["minimal"])

    assert jobs.get()["status"] == Status().to_dict()


@pytest.mark.parametrize("number", ["3.0", "3e0", "0.3e1", "300e-2"])
def test_whole_numbers_however_written_are_stored_as_integers(number: str, shared: Jobs) -> None:
    manifest = good("minimal")
    manifest["spec"]["train"]["nodes"] = 12345
    text = json.dumps(manifest).replace("12345", number)

    path = shared.path() + "?dryRun=All&fieldValidation=Strict"
    status, answer = shared.control_plane.request("POST", path, text)

    assert status == 201, answer
    assert (answer["spec"]["train"]["nodes"], type(answer["spec"]["train"]["nodes"])) == (3, int)


def test_nobody_writes_status_beside_the_spec(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(good("minimal") | {"status": STATUS}))
    for how in ("create", "apply", "server-side", "patch"):
        if how == "create":
            jobs.create(good("minimal") | {"status": STATUS})
        elif how == "patch":
            assert jobs.patch({"status": STATUS})[0] == 200
        else:
            force = ("--server-side", "--force-conflicts") if how == "server-side" else ()
            jobs.kubectl("apply", *force, "-f", file)
        assert jobs.get()["status"] == Status().to_dict(), how
        assert jobs.get()["metadata"]["generation"] == 1, how


def test_nobody_writes_the_spec_beside_status(jobs: Jobs) -> None:
    spec = jobs.create(good("minimal"))["spec"]

    status, answer = jobs.patch({"spec": {"train": {"nodes": 9}}, "status": STATUS}, "status")

    assert (status, answer["spec"]) == (200, spec)
    assert answer["metadata"]["generation"] == 1
    assert answer["status"] == Status.model_validate(STATUS).to_dict()


def test_the_server_checks_status_too(jobs: Jobs) -> None:
    jobs.create(good("minimal"))

    for status in ({"phase": "Done"}, {"message": "x" * 3000}, {"progress": {"percent": 1}}):
        assert jobs.patch({"status": status}, "status")[0] == 422


# --- what people see ----------------------------------------------------------------------------


def test_kubectl_shows_the_story_in_columns(jobs: Jobs) -> None:
    jobs.create(GOOD["gates"])
    jobs.create(GOOD["minimal-regression"], name="fresh")
    assert jobs.patch({"status": STATUS}, "status")[0] == 200

    def table(*arguments: str) -> dict[str, list[str]]:
        """Cells by column."""
        lines = jobs.kubectl("get", *arguments).splitlines()
        starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
        ends = [*starts[1:], None]
        rows = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]
        return {head: list(cells) for head, *cells in zip(*rows, strict=True)}

    narrow, wide = table("tj"), table("tj", "-o", "wide")
    age = narrow.pop("AGE")
    assert all(re.fullmatch(r"\d+s", cell) for cell in age)
    assert narrow == {
        "NAME": ["digits", "fresh"],
        "PHASE": ["Training", "Pending"],
        "STAGE": ["train", ""],
        "PROGRESS": ["40", ""],
        "SCORE": ["0.9749", ""],
    }
    assert {head: cells for head, cells in wide.items() if head not in {*narrow, "AGE"}} == {
        "DEPLOYED": ["", ""],
        "REASON": ["Retrying", ""],
        "NODES": ["1", "1"],
        "TASK": ["classification", "regression"],
        "MESSAGE": ["attempt 2 of stage train runs", ""],
    }


@pytest.mark.parametrize(
    "name", ["tj", "trainingjob", "trainingjobs", "trainingjobs.trainingjob.dev", "ml", "all"]
)
def test_a_job_is_found_as(name: str, shared: Jobs) -> None:
    shared.kubectl("apply", "-f", "-", input=FILES["shortest-name"])

    assert "trainingjob.trainingjob.dev/a\n" in shared.kubectl("get", name, "-o", "name")


EXPLAINED = {
    "tj": ["From data to a judged model", "spec\t<Object> -required-", "read only"],
    "tj.spec": [
        "It stays as it was created, but for",
        "train\t<Object>\n    Stage 2: a gang of `nodes` pods trains the model. Unset:",
        "preprocess\t<Object>\n    Stage 1: from raw files to a cleaned, split dataset.",
        "policy\t<Object>\n    Deadlines and retries; it can change while the job",
        "suspend\t<boolean>\n    Stop the pods of the running stage",
    ],
    "tj.spec.train": [
        "FIELD: train <Object>",
        "Stage 2: a gang of `nodes` pods trains the model.",
        "nodes\t<integer>\n    Number of training pods. Default: 1.",
        "precision\t<string>\n  enum: auto, fp32, bf16\n    Built-in models:",
        "command\t<[]string>\n    Own command, run once in each pod",
        "template\t<Object>\n    Parts of the pods.",
    ],
    "tj.spec.train.optimizer.sgd": ["learningRate\t<number>\n    Step size. Default: 0.01."],
    "tj.spec.preprocess.steps": [
        "FIELD: steps <[]Object>",
        "One step: exactly one of the fields.",
        "dropna\t<Object>\n    Drop rows with nulls.",
    ],
    "tj.spec.evaluate.template": [
        "Parts of the pods. Fields: see spec.train.template.",
        "nodeSelector\t<map[string]string>\n    <no description>",
    ],
    "tj.spec.train.template": ["nodeSelector\t<map[string]string>\n    Labels that the node"],
    "tj.spec.evaluate.gates": ["metric\t<string> -required-", "min\t<number>\n    Lowest value"],
    "tj.status": ["phase\t<string>", "lastFailure\t<Object>\n    The newest failure."],
}


@pytest.mark.parametrize("path", EXPLAINED)
def test_kubectl_explains(path: str, control_plane: ControlPlane) -> None:
    told = control_plane.kubectl("explain", path).stdout

    for text in EXPLAINED[path]:
        assert text in told
    assert ("<no description>" in told) == ("Fields: see " in told)


def fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if isinstance(node.get(below), dict):
            yield from fields(node[below], path)


def test_the_server_publishes_the_descriptions_of_every_field(
    control_plane: ControlPlane,
) -> None:
    document = control_plane.request("GET", f"/openapi/v3{API}")[1]
    schema = document["components"]["schemas"]["dev.trainingjob.v1alpha1.TrainingJob"]
    found = [
        found
        for part in ("spec", "status")
        for found in fields({"properties": {part: schema["properties"][part]}}, "tj")
    ]

    assert len(found) > 500
    ours = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    ours = {part: ours[part] for part in ("spec", "status")}
    assert {path: node.get("description") for path, node in found} == {
        path: node.get("description") for path, node in fields({"properties": ours}, "tj")
    }
