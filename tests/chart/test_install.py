"""install, upgrade, rollback and uninstall with the real helm on a real API server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.build import ROOT
from tests.cluster.controlplane import CommandFailedError, ControlPlane
from tests.cluster.wait import wait_for

from .conftest import CRD
from .helm import CHART, NAMESPACE, RELEASE
from .release import Release, run_job
from .variants import ONLY_NAMESPACED

KEEP = "helm.sh/resource-policy"


def crd_of(cluster: ControlPlane) -> dict[str, Any]:
    return cluster.request("GET", CRD)[1]


def test_installed_it_is_what_was_rendered_and_nothing_is_ever_out_of_sync(
    cluster: ControlPlane, home: str, team: str
) -> None:
    release = Release(cluster, home)
    values = {
        "namespaces": [team],
        "networkPolicy": {"egress": True},
        "podDisruptionBudget": {"enabled": True},
        "dashboard": {"enabled": True},
    }
    release.install(values)
    assert json.loads(release.helm("status", "--output", "json"))["info"]["status"] == "deployed"
    rendered = cluster.helm(
        *("template", RELEASE, CHART, "--namespace", home, "--values", "-"),
        input=json.dumps(values),
    ).stdout
    # Exits with 1 for a difference: a field that the server sets otherwise would be one for ever.
    # As another manager: as Helm itself it would take away the marks that Helm adds.
    cluster.kubectl("diff", "--server-side", "--force-conflicts", "-f", "-", input=rendered)
    cluster.kubectl("get", "-f", "-", input=rendered)


def test_the_operators_pod_is_allowed_where_none_but_restricted_pods_are(
    cluster: ControlPlane, home: str
) -> None:
    release = Release(cluster, home)
    release.install()
    deployment = release.get("deployment", RELEASE, home)
    assert deployment is not None
    template = deployment["spec"]["template"]
    pod = {"metadata": {"name": "pod", "labels": template["metadata"]["labels"]}}
    status, answer = cluster.request(
        "POST", f"/api/v1/namespaces/{home}/pods", pod | {"spec": template["spec"]}
    )
    assert status == 201, answer
    assert answer["spec"]["serviceAccountName"] == RELEASE


def test_an_upgrade_changes_what_changed_and_a_rollback_changes_it_back(
    cluster: ControlPlane, home: str, team: str
) -> None:
    release = Release(cluster, home)
    release.install()
    job, pod = run_job(cluster, team)
    assert release.container["image"].endswith(":0.1.0")

    release.upgrade({"image": {"tag": "2"}, "namespaces": [team]})
    assert release.container["image"].endswith(":2")
    assert f"--namespace={team}" in release.container["args"]
    # From rights in the cluster to rights in the namespace: the old ones are gone.
    assert release.get("clusterrole", RELEASE) is None
    assert release.get("clusterrolebinding", RELEASE) is None
    assert release.get("role", RELEASE, team) is not None

    release.helm("rollback", "1")
    assert release.container["image"].endswith(":0.1.0")
    assert release.get("clusterrole", RELEASE) is not None
    assert release.get("role", RELEASE, team) is None
    assert [
        revision["revision"] for revision in json.loads(release.helm("history", "-o=json"))
    ] == [*(1, 2, 3)]
    assert [cluster.request("GET", path)[0] for path in (job, pod)] == [200, 200]


def test_jobs_and_their_pods_survive_the_uninstall_and_the_next_install_finds_them(
    cluster: ControlPlane, home: str, team: str
) -> None:
    release = Release(cluster, home)
    release.install()
    job, pod = run_job(cluster, team)
    before = [cluster.request("GET", path)[1]["metadata"]["uid"] for path in (job, pod)]

    release.uninstall()
    assert release.get("deployment", RELEASE, home) is None
    assert release.get("clusterrole", f"{RELEASE}-edit") is None
    assert [cluster.request("GET", path)[1]["metadata"]["uid"] for path in (job, pod)] == before

    release.install()
    assert [cluster.request("GET", path)[1]["metadata"]["uid"] for path in (job, pod)] == before


def test_without_keep_the_uninstall_takes_the_jobs_with_it(
    cluster: ControlPlane, home: str, team: str
) -> None:
    release = Release(cluster, home)
    release.install({"crds": {"keep": False}})
    run_job(cluster, team)
    release.uninstall()
    wait_for("the end of the CRD", lambda: cluster.request("GET", CRD)[0] == 404)


def test_a_release_that_no_longer_installs_the_crd_leaves_it_and_the_jobs(
    cluster: ControlPlane, home: str, team: str
) -> None:
    release = Release(cluster, home)
    release.install()
    job, pod = run_job(cluster, team)
    release.upgrade({"crds": {"install": False}})
    assert [cluster.request("GET", path)[0] for path in (job, pod, CRD)] == [200, 200, 200]
    assert "deletionTimestamp" not in crd_of(cluster)["metadata"]


def test_an_upgrade_brings_the_new_crd_and_a_rollback_the_old_one(
    cluster: ControlPlane, home: str, tmp_path: Path
) -> None:
    old = tmp_path / CHART.name
    shutil.copytree(CHART, old)
    spec = old / "files/crd-spec.yaml"
    spec.write_text(spec.read_text().replace("    - ml\n", "    - formerly\n"))

    def categories() -> list[str]:
        found: list[str] = crd_of(cluster)["spec"]["names"]["categories"]
        return found

    release = Release(cluster, home)
    release.install(chart=old)
    assert categories() == ["all", "formerly"]
    release.upgrade()
    assert categories() == ["all", "ml"]
    release.helm("rollback", "1")
    assert categories() == ["all", "formerly"]


# --- the CRD is there already ------------------------------------------------------------------
@pytest.fixture
def foreign(cluster: ControlPlane) -> None:
    """A CRD that kubectl has applied, and that differs from the chart's."""
    text = (ROOT / "crds/trainingjob.dev_trainingjobs.yaml").read_text(encoding="utf-8")
    cluster.kubectl("apply", "-f", "-", input=text.replace("    - ml\n", "    - formerly\n"))


@pytest.mark.usefixtures("foreign")
def test_a_crd_of_somebody_else_is_not_taken_over_by_accident(
    cluster: ControlPlane, home: str
) -> None:
    release = Release(cluster, home)
    with pytest.raises(CommandFailedError, match="invalid ownership metadata"):
        release.install()
    release.install({"crds": {"install": False}})
    with pytest.raises(CommandFailedError, match="invalid ownership metadata"):
        release.upgrade({})
    assert KEEP not in crd_of(cluster)["metadata"].get("annotations", {})


@pytest.mark.usefixtures("foreign")
def test_a_crd_of_somebody_else_is_taken_over_when_that_is_said(
    cluster: ControlPlane, home: str
) -> None:
    Release(cluster, home).install({}, "--take-ownership", "--force-conflicts")
    found = crd_of(cluster)
    assert found["spec"]["names"]["categories"] == ["all", "ml"]
    assert found["metadata"]["annotations"][KEEP] == "keep"
    assert found["metadata"]["annotations"]["meta.helm.sh/release-name"] == RELEASE


# --- more than one operator, and fewer rights --------------------------------------------------
def test_two_operators_serve_two_namespaces_of_one_cluster(
    cluster: ControlPlane, home: str, team: str
) -> None:
    other_home, other_team = cluster.namespace(), cluster.namespace()
    Release(cluster, home).install({"namespaces": [team]})
    second = Release(cluster, other_home)
    with pytest.raises(CommandFailedError, match="invalid ownership metadata"):
        second.install({"namespaces": [other_team]})
    second.install({"namespaces": [other_team], **ONLY_NAMESPACED})
    assert second.get("role", RELEASE, other_team) is not None


def test_the_admin_of_a_namespace_can_install_what_needs_no_rights_over_the_cluster(
    cluster: ControlPlane, home: str
) -> None:
    cluster.kubectl(
        *("create", "rolebinding", "admins", "--clusterrole=admin", "--user=user-admin"),
        *("--namespace", home),
    )
    # The operator's own rights are granted by somebody who has them.
    values = {"namespaces": [home], "rbac": {"create": False}, **ONLY_NAMESPACED}
    release = Release(cluster, home)
    release.install(values, user="user-admin")
    assert release.get("role", "trainingjob-spark", home) is not None


def test_a_namespace_that_does_not_exist_is_told(cluster: ControlPlane, home: str) -> None:
    with pytest.raises(CommandFailedError, match='namespaces "missing" not found'):
        Release(cluster, home).install({"namespaces": ["missing"], **ONLY_NAMESPACED})


# --- without helm ------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["-f", "-k"])
def test_kubectl_apply_installs_the_operator_and_a_second_time_changes_nothing(
    how: str, cluster: ControlPlane
) -> None:
    what = ROOT / ("deploy/install.yaml" if how == "-f" else "deploy")
    try:
        cluster.kubectl("apply", how, what)
        again = cluster.kubectl("apply", how, what).stdout.splitlines()
        assert len(again) == len([*yaml.safe_load_all(_install_yaml())])
        assert [line for line in again if not line.endswith(" unchanged")] == []
        cluster.kubectl("diff", how, what)
        deployment = cluster.kubectl("get", "deployment", "-n", NAMESPACE, "-o=name").stdout
        assert deployment.strip() == f"deployment.apps/{RELEASE}"
    finally:
        cluster.kubectl("delete", how, what, "--ignore-not-found")


def _install_yaml() -> str:
    return (ROOT / "deploy/install.yaml").read_text(encoding="utf-8")
