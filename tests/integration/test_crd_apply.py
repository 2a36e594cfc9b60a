"""kubectl apply, diff, and again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.api.corpus import ROOT
from trainingjob.api.v1alpha1 import Status

from .crd import FILES, STATUS, Jobs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.yaml").write_text(text, "utf-8")
    return tmp_path


SERVER_SIDE = {"client-side": (), "server-side": ("--server-side",)}


@pytest.mark.parametrize("side", SERVER_SIDE)
def test_applying_the_same_again_changes_nothing(side: str, folder: Path, jobs: Jobs) -> None:
    apply = ("apply", *SERVER_SIDE[side], "-f", folder)
    jobs.kubectl(*apply)
    for name in jobs.versions():  # the operator has seen them
        jobs.patch({"status": {"observedGeneration": 1}}, "status", name)
    created = jobs.versions()
    assert len(created) == len(FILES)

    again = jobs.kubectl(*apply)

    assert jobs.versions() == created
    assert {line.split()[-1] for line in again.splitlines()} == {
        "unchanged" if side == "client-side" else "serverside-applied"
    }
    # Exits with 1 when there is something to tell.
    assert jobs.kubectl("diff", *SERVER_SIDE[side], "-f", folder) == ""
    assert {generation for generation, _ in created.values()} == {1}


def test_nulls_are_dropped_by_the_server_but_not_from_a_server_side_apply(jobs: Jobs) -> None:
    file = ROOT / "good" / "explicit-nulls.yaml"

    told = jobs.kubectl("apply", "--server-side", "-f", file, check=False)

    # Kubernetes' own doing: it names each of them, and stores none.
    assert 'spec.train.epochs in body must be of type integer: "null"' in told
    assert jobs.versions() == {}
    for _ in range(3):
        jobs.kubectl("apply", "-f", file)
        assert jobs.get()["metadata"]["generation"] == 1
    assert jobs.kubectl("diff", "-f", file) == ""


def test_changing_from_client_side_to_server_side_apply_changes_no_spec(
    folder: Path, jobs: Jobs
) -> None:
    for arguments in ((), ("--server-side",), ("--server-side",)):
        jobs.kubectl("apply", *arguments, "-f", folder / "whole-pipeline.yaml")
    versions = jobs.versions()

    jobs.kubectl("apply", "--server-side", "-f", folder / "whole-pipeline.yaml")

    assert jobs.versions() == versions
    assert [generation for generation, _ in versions.values()] == [1]


@pytest.mark.parametrize("side", SERVER_SIDE)
def test_a_job_that_the_operator_has_worked_on_is_no_difference(
    side: str, folder: Path, jobs: Jobs
) -> None:
    (name,) = {yaml.safe_load(FILES["gates"])["metadata"]["name"]}
    file = folder / "gates.yaml"
    jobs.kubectl("apply", *SERVER_SIDE[side], "-f", file)
    job = jobs.get(name) | {"status": STATUS}
    status, answer = jobs.control_plane.request("PUT", jobs.path(name, "status"), job)
    assert status == 200, answer
    versions = jobs.versions()

    assert jobs.kubectl("diff", *SERVER_SIDE[side], "-f", file) == ""
    jobs.kubectl("apply", *SERVER_SIDE[side], "-f", file)

    assert jobs.versions() == versions
    assert jobs.get(name)["status"] == Status.model_validate(STATUS).to_dict()


def test_a_change_of_the_policy_is_a_difference_and_applied(folder: Path, jobs: Jobs) -> None:
    file = folder / "policy-empty.yaml"
    jobs.kubectl("apply", "-f", file)
    text = file.read_text().replace("retries: {}", "retries: {application: 9}")
    file.write_text(text)

    diff = jobs.kubectl("diff", "-f", file, check=False)

    lines = {line[1:].strip() for line in diff.splitlines() if re.match(r"[-+] ", line)}
    assert lines == {"generation: 1", "generation: 2", "application: 1", "application: 9"}
    assert "configured" in jobs.kubectl("apply", "-f", file)
    assert jobs.get("policy-empty")["spec"]["policy"]["retries"]["application"] == 9


def test_a_dry_run_on_the_server_tells_and_does_nothing(folder: Path, jobs: Jobs) -> None:
    told = jobs.kubectl("apply", "--dry-run=server", "-f", folder / "minimal.yaml")

    assert told == "trainingjob.trainingjob.dev/minimal created (server dry run)\n"
    assert jobs.versions() == {}


def test_a_bad_manifest_is_told_with_its_field_and_a_typo_by_its_name(
    folder: Path, jobs: Jobs
) -> None:
    for name, message in {
        "nodes-zero": "spec.train.nodes in body should be greater than or equal to 1",
        "train-typo": 'unknown field "spec.train.',
        "stratify-with-regression": "spec: Invalid value: split.stratify needs task.type",
    }.items():
        told = jobs.kubectl("apply", "-f", ROOT / "bad" / f"{name}.yaml", check=False)
        assert message in told
    assert jobs.versions() == {}
