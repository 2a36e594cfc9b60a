"""docs/install.md: its commands are run, its kustomizations rendered, its tables compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.build import ROOT
from tests.cluster.controlplane import ControlPlane

from .helm import NAMESPACE, RELEASE, names, objects, one, render, run

PAGE = (ROOT / "docs/install.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def commands(section: str = "") -> list[list[str]]:
    page = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0] if section else PAGE
    lines = re.findall(r"^\$ ((?:.*\\\n)*.*)$", page, re.M)
    return [shlex.split(line.replace("\\\n", "")) for line in lines]


def test_every_command_is_one_of_helm_or_kubectl() -> None:
    assert {command[0] for command in commands()} == {"helm", "kubectl"}


def test_the_page_works_as_it_is_written(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for team in ("team-a", "team-b", "team-c"):
        cluster.kubectl("create", "namespace", team)
    for section in ("With Helm", "Does it run?", "Upgrade", "Uninstall", "With kubectl"):
        found = commands(section)
        assert found, section
        for program, *arguments in found:
            (cluster.kubectl if program == "kubectl" else cluster.helm)(*arguments)
    container = cluster.kubectl(
        *("get", "deployment", RELEASE, "-n", NAMESPACE),
        *("-o", "jsonpath={.spec.template.spec.containers[0].image}"),
    )
    assert container.stdout == "registry.example.com/ml/trainingjob-operator:0.1.0"
    cluster.kubectl("delete", "-f", "deploy/install.yaml")


def test_its_kustomizations_work_beside_the_folder_deploy(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    folder = tmp_path / "mine"
    folder.mkdir()
    operator, spark = (block for block in blocks("yaml") if "kind: Kustomization" in block)

    (folder / "kustomization.yaml").write_text(operator)
    found = objects(run("kubectl", "kustomize", folder).stdout)
    container = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example.com/ml/trainingjob-operator:0.1.0"
    assert container["args"][-2:] == [
        "--spark-image=registry.example.com/ml/trainingjob-spark:0.1.0",
        "--torch-image=registry.example.com/ml/trainingjob-torch:0.1.0",
    ]

    (folder / "kustomization.yaml").write_text(spark)
    found = objects(run("kubectl", "kustomize", folder).stdout)
    assert names(found, "RoleBinding") == ["team-a/trainingjob-spark"]


@pytest.mark.parametrize(
    ("role", "title"),
    [(RELEASE, "The operator's service account has"), ("trainingjob-spark", "Spark drivers run")],
)
def test_the_tables_of_rights_are_the_rules_of_the_chart(role: str, title: str) -> None:
    assert table(title) == rules(role, {"spark": {"namespaces": ["a"]}})


DEPLOY: dict[str, Any] = {"deploy": {"enabled": True}}
KSERVE = {"deploy": {"enabled": True, "kserve": {"enabled": True}}}


@pytest.mark.parametrize(
    ("value", "with_it", "without"),
    [("deploy.enabled", DEPLOY, {}), ("deploy.kserve.enabled", KSERVE, DEPLOY)],
)
def test_so_are_the_tables_of_rights_to_serve_models(
    value: str, with_it: dict[str, Any], without: dict[str, Any]
) -> None:
    rights = [
        {(resource, verb) for resources, verbs in found for resource in resources for verb in verbs}
        for found in (
            rules(RELEASE, with_it),
            rules(RELEASE, without),
            table(f"With `{value}: true`"),
        )
    ]
    assert rights[0] - rights[1] == rights[2]


Rights = list[tuple[list[str], list[str]]]


def table(title: str) -> Rights:
    """Resources and verbs of the first table after these words."""
    found = PAGE.partition(title)[2].partition("|---|---|---|\n")[2].partition("\n\n")[0]
    told = []
    for row in found.splitlines():
        resources, verbs, why = row.strip("| ").split(" | ")
        assert why
        told.append((re.findall("`(.*?)`", resources), re.findall("`(.*?)`", verbs)))
    return told


def rules(role: str, values: dict[str, Any]) -> Rights:
    """Of a role of the chart."""
    (found,) = [
        found["rules"]
        for found in render(values)
        if found["kind"] in ("Role", "ClusterRole") and found["metadata"]["name"] == role
    ]
    return [(rule["resources"], rule["verbs"]) for rule in found]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_the_versions_are_those_of_the_chart() -> None:
    chart = yaml.safe_load((ROOT / "charts/trainingjob-operator/Chart.yaml").read_text("utf-8"))
    assert set(re.findall(r":(\d+\.\d+\.\d+)", PAGE)) == {chart["appVersion"]}
    assert f"Kubernetes {chart['kubeVersion'].strip('>=').removesuffix('.0-0')} or newer" in PAGE
