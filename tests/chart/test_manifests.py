"""install.yaml and the kustomizations: what the chart says, for those without Helm."""

from __future__ import annotations

import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from deploy import generate

from tests.cluster.build import ROOT
from tests.unit.api.corpus import in_annotation

from .helm import NAMESPACE, Objects, names, objects, one, render, run


@pytest.fixture(scope="module")
def install() -> Objects:
    """What install.yaml should be: whether it is, one test alone says."""
    return objects(generate.generated()["deploy/install.yaml"])


def test_the_committed_files_are_what_the_chart_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert (generate.main(["--check"]), capsys.readouterr().out) == (0, "")


def test_install_yaml_is_the_chart_and_a_namespace_that_enforces_what_its_pods_keep(
    install: Objects,
) -> None:
    namespace, *rest = install
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    chart = render({"crds": {"keep": False}})
    for rendered in chart:
        _without_helm(rendered)
    assert rest == chart


def _without_helm(node: object) -> None:
    if isinstance(node, dict):
        for key in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            node.pop(key, None)
        for inner in node.values():
            _without_helm(inner)


@pytest.mark.parametrize("version", [f"1.{minor}" for minor in range(30, 38)])
def test_install_yaml_is_valid_to_the_letter_in_kubernetes(version: str, install: Objects) -> None:
    for found in install:
        kubernetes_validate.validate(found, version, strict=True)


def test_the_crd_fits_into_the_annotation_of_client_side_apply(install: Objects) -> None:
    # Of 256 KiB for all annotations of an object, a fifth is kept for what comes.
    assert len(in_annotation(one(install, "CustomResourceDefinition"))) < 220 * 1024


def kustomize(folder: Path) -> Objects:
    return objects(run("kubectl", "kustomize", folder).stdout)


def overlay(folder: Path, base: str, **more: object) -> Objects:
    # Bases are named relative to the overlay.
    (folder / "base").symlink_to(ROOT / "deploy")
    content = {"resources": [f"base/{base}".rstrip("/")], **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return kustomize(folder)


def test_the_base_is_install_yaml() -> None:
    def key(found: dict[str, object]) -> str:
        return json.dumps(found, sort_keys=True)

    committed = objects((ROOT / "deploy/install.yaml").read_text(encoding="utf-8"))
    assert sorted(kustomize(ROOT / "deploy"), key=key) == sorted(committed, key=key)


def test_an_overlay_sets_the_operators_image(tmp_path: Path) -> None:
    image = {"name": "trainingjob-operator", "newName": "registry.example/op", "newTag": "2"}
    found = overlay(tmp_path, "", images=[image])
    container = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.example/op:2"


def test_an_overlay_puts_the_account_of_spark_drivers_into_a_namespace(tmp_path: Path) -> None:
    found = overlay(tmp_path, "spark", namespace="team-a")
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        assert names(found, kind) == ["team-a/trainingjob-spark"]
    assert one(found, "RoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": "trainingjob-spark", "namespace": "team-a"}
    ]


def test_check_names_the_file_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = generate.generated()
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "generated", lambda helm: texts)
    for name in texts:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "deploy/install.yaml").write_text("old")
    capsys.readouterr()

    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out == "deploy/install.yaml differs: run `make install-yaml`\n"
    assert (tmp_path / "deploy/install.yaml").read_text() == "old"
