"""What the chart renders, without a cluster."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.cluster.build import ROOT
from trainingjob import __version__
from trainingjob.api.crd import crd
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.controller import settings
from trainingjob.core import Settings, stages
from trainingjob.core.names import LABEL_INDEX

from .helm import CHART, NAMESPACE, RELEASE, names, objects, one, render, run, template
from .variants import EVERYTHING, ONLY_NAMESPACED, VARIANTS

SNAPSHOTS = Path(__file__).parent / "snapshots"
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
ADMISSION = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CLUSTER_WIDE = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"} | ADMISSION
# Kinds of the Prometheus operator: their schemas are not Kubernetes' own.
FOREIGN = {"PodMonitor", "PrometheusRule"}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_rendered_text_is_the_snapshot(name: str) -> None:
    # UPDATE_SNAPSHOTS=1 writes them anew. Read the difference before you commit it.
    text = template(VARIANTS[name]).stdout
    # The spec of the CRD has its own test.
    text = re.sub(
        r"(kind: CustomResourceDefinition\n.*?)^spec:.*?(?=^---)", r"\1", text, flags=re.M | re.S
    )
    path = SNAPSHOTS / f"{name}.yaml"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "UPDATE_SNAPSHOTS=1 writes it anew"


def test_every_snapshot_belongs_to_a_variant() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(VARIANTS)


def test_the_variants_render_every_template_and_use_every_branch() -> None:
    sources = {
        source
        for values in VARIANTS.values()
        for source in re.findall(r"^# Source: .*/(.*)$", template(values).stdout, re.M)
    }
    assert sources == {path.name for path in (CHART / "templates").glob("*.yaml")}


@pytest.mark.parametrize("name", VARIANTS)
def test_rendered_twice_it_is_the_same_so_that_nothing_is_ever_out_of_sync(name: str) -> None:
    again = template(VARIANTS[name], "--debug")  # another command: not from the cache
    assert template(VARIANTS[name]).stdout == again.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_is_valid_to_the_letter_in_kubernetes(name: str, version: str) -> None:
    checked = 0
    for rendered in render(VARIANTS[name]):
        if rendered["kind"] not in FOREIGN:
            kubernetes_validate.validate(rendered, version, strict=True)
            checked += 1
    assert checked


@pytest.mark.parametrize("name", VARIANTS)
def test_yaml_has_no_key_twice(name: str) -> None:
    [*yaml.load_all(template(VARIANTS[name]).stdout, Loader=UniqueKeys)]


class UniqueKeys(yaml.CSafeLoader):
    """PyYAML takes the last of two; Kubernetes may not."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), node.start_mark
        return super().construct_mapping(node, deep)


def test_helm_lint_has_nothing_to_say() -> None:
    run("helm", "lint", "--strict", CHART)


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.29.14", False), ("1.30.0", True), ("1.30.5-gke.100", True)]
)
def test_older_clusters_are_refused(version: str, accepted: bool) -> None:
    done = template({}, "--kube-version", version, check=False)
    assert (done.returncode == 0) is accepted
    assert accepted or "requires kubeVersion: >=1.30.0-0" in done.stderr


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("keep", [True, False])
def test_the_crd_is_the_generated_one_and_kept_if_so_wanted(keep: bool) -> None:
    found = one(render({"crds": {"keep": keep}}), "CustomResourceDefinition")
    assert found["spec"] == crd()["spec"]
    assert found["metadata"]["name"] == crd()["metadata"]["name"]
    policy = {"helm.sh/resource-policy": "keep"} if keep else None
    assert found["metadata"].get("annotations") == policy


# --- names and labels --------------------------------------------------------------------------
RELEASES = {  # release -> name of the Deployment
    "trainingjob-operator": "trainingjob-operator",
    "tj": "tj-trainingjob-operator",
    "r" * 53: "r" * 52,
    "a-release-whose-name-is-cut-right-at-the-dash-between": (
        "a-release-whose-name-is-cut-right-at-the-dash-betwee"
    ),
    "a-release-whose-long-name-is-cut-just-behind-a-dash": (
        "a-release-whose-long-name-is-cut-just-behind-a-dash"
    ),
}


@pytest.mark.parametrize("release", RELEASES)
def test_names_come_from_the_release_and_fit(release: str) -> None:
    found = render({**VARIANTS["switched-on-as-it-stands"]}, release=release)
    assert names(found, "Deployment") == [f"{NAMESPACE}/{RELEASES[release]}"]
    for rendered in found:
        name = rendered["metadata"]["name"]
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name)
        assert len(name) <= 63, name


def test_a_full_name_of_the_users_own_is_taken_as_it_is() -> None:
    found = render({"fullnameOverride": "op"}, release="tj")
    assert names(found, "ClusterRole") == ["op-edit", "op-view", "op"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_says_what_it_belongs_to(name: str) -> None:
    for rendered in render(VARIANTS[name]):
        labels = rendered["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] in (RELEASE, "jobs")
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_but_the_cluster_wide_ones_says_where_it_lives(name: str) -> None:
    for rendered in render(VARIANTS[name]):
        assert (rendered["kind"] in CLUSTER_WIDE) == ("namespace" not in rendered["metadata"])


@pytest.mark.parametrize("name", VARIANTS)
def test_selectors_select_the_operators_pod(name: str) -> None:
    found = render(VARIANTS[name])
    labels = one(found, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [*_selectors(found)]
    assert selectors
    for selector in selectors:
        assert selector.items() <= labels


def _selectors(found: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for rendered in found:
        if rendered["kind"] in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
            yield rendered["spec"]["selector"]["matchLabels"]
        if rendered["kind"] == "NetworkPolicy":
            yield rendered["spec"]["podSelector"]["matchLabels"]


# --- the operator's pod ------------------------------------------------------------------------
def pod_spec(values: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = one(render(values), "Deployment")["spec"]["template"]["spec"]
    return spec


def reports(name: str) -> dict[str, str]:
    """Options by which pods can report progress."""
    return {
        "status_url": f"https://{name}.{NAMESPACE}.svc",
        "status_secret": f"{NAMESPACE}/{name}-status",
    }


ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "it serves all namespaces, with the images of its own version": (
        {},
        {"namespaces": (), "log_format": "json", "log_level": "info"} | reports(RELEASE),
    ),
    "it serves the namespaces of the list": (
        {"namespaces": ["b", "a"]},
        {"namespaces": ("b", "a"), "log_format": "json"} | reports(RELEASE),
    ),
    "pods do not report": ({"progress": {"enabled": False}}, {"log_format": "json"}),
    "no Event is read": (
        {"podEvents": {"enabled": False}},
        {"log_format": "json"} | reports(RELEASE),
    ),
    "all is set": (
        EVERYTHING,
        {
            "namespaces": ("team-a", "team-b"),
            "log_format": "text",
            "log_level": "debug",
            "deploy": True,
            "kserve": True,
            "pod_groups": True,
            "spark_image": "registry.example/spark:1",
            "torch_image": "registry.example/torch:2",
            **reports(f"{RELEASE}-jobs"),
        },
    ),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_the_operator_understands_its_arguments(what: str) -> None:
    values, expected = ARGUMENTS[what]
    container = pod_spec(values)["containers"][0]
    assert "command" not in container, "the image's entrypoint: tini, then the operator"
    explains = {"pod_events": not values.get("podEvents")}
    assert settings.parse(container["args"]) == settings.Options(**explains | expected)


def test_the_ports_are_the_operators_own() -> None:
    found = render()
    container = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [
        {"name": "http", "containerPort": settings.Options().http_port},
        {"name": "status", "containerPort": settings.Options().status_port},
    ]
    (port,) = one(found, "Service")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (443, "status")
    paths = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_the_pod_has_more_time_to_end_than_the_operator_takes() -> None:
    assert pod_spec({})["terminationGracePeriodSeconds"] > settings.Options().drain_seconds * 2


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f"trainingjob-operator:{__version__}"),
        ({"repository": "registry.example:5000/op"}, f"registry.example:5000/op:{__version__}"),
        ({"tag": "2"}, "trainingjob-operator:2"),
        ({"tag": "2", "digest": f"sha256:{'a' * 64}"}, f"trainingjob-operator@sha256:{'a' * 64}"),
    ],
)
def test_the_image(image: dict[str, str], expected: str) -> None:
    assert pod_spec({"image": image})["containers"][0]["image"] == expected


def test_there_is_never_a_second_operator_beside_the_first() -> None:
    spec = one(render(EVERYTHING), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


# --- rights ------------------------------------------------------------------------------------
STATUS_ROLE = f"{NAMESPACE}/{RELEASE}-status"
NAMESPACED_RIGHTS = {
    "all namespaces: one ClusterRole": ({}, [RELEASE], [STATUS_ROLE]),
    "two: a Role in each, and none in the cluster": (
        {"namespaces": ["a", "b"], **ONLY_NAMESPACED},
        [],
        [f"a/{RELEASE}", f"b/{RELEASE}", STATUS_ROLE],
    ),
    "one, and pods do not report": (
        {"namespaces": ["a"], "progress": {"enabled": False}},
        [],
        [f"a/{RELEASE}"],
    ),
    "none, since somebody else grants them": (
        {"namespaces": ["a"], "rbac": {"create": False}},
        [],
        [],
    ),
}


@pytest.mark.parametrize("what", NAMESPACED_RIGHTS)
def test_rights_of_the_operator_are_for(what: str) -> None:
    values, cluster, namespaced = NAMESPACED_RIGHTS[what]
    found = render({**values, "userRoles": {"create": False}, "spark": {"create": False}})
    assert names(found, "ClusterRole") == names(found, "ClusterRoleBinding") == cluster
    assert names(found, "Role") == names(found, "RoleBinding") == namespaced
    for rendered in found:
        if rendered["kind"].endswith("RoleBinding"):
            assert rendered["roleRef"]["kind"] + "Binding" == rendered["kind"]
            assert rendered["subjects"] == [
                {"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}
            ]


def test_the_rules_are_the_same_in_a_namespace_and_in_the_cluster() -> None:
    cluster = one(render(), "ClusterRole", RELEASE)
    namespaced = one(render({"namespaces": ["a"]}), "Role", RELEASE)
    assert cluster["rules"] == namespaced["rules"]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_rule_has_a_wildcard_or_touches_secrets(name: str) -> None:
    for rendered in render(VARIANTS[name]):
        for rule in rendered.get("rules", ()):
            if rendered["metadata"]["name"].endswith("-status"):
                # The one Secret that is the operator's own.
                assert rule.pop("resourceNames") == [rendered["metadata"]["name"]]
                assert (rule.pop("resources"), rule.pop("verbs")) == (
                    ["secrets"],
                    ["get", "update"],
                )
                continue
            assert set(rule) == {"apiGroups", "resources", "verbs"}
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "leases", "namespaces"} & set(rule["resources"])


SPARK: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nowhere, since the namespaces of jobs are not known": ({}, []),
    "in the operator's namespaces": ({"namespaces": ["a", "b"]}, ["a", "b"]),
    "where it is asked for": ({"spark": {"namespaces": ["c"]}}, ["c"]),
    "where it is asked for alone": ({"namespaces": ["a"], "spark": {"namespaces": ["c"]}}, ["c"]),
    "nowhere, if so wanted": ({"namespaces": ["a"], "spark": {"create": False}}, []),
}


def spark_account() -> str:
    """What the operator has its driver pods run as."""
    text = (ROOT / "examples/digits/job.yaml").read_text(encoding="utf-8")
    job = TrainingJob.from_dict(yaml.safe_load(text))
    (driver,) = stages.named("preprocess").pods(job, 1, Settings())
    name: str = driver["spec"]["serviceAccountName"]
    return name


@pytest.mark.parametrize("where", SPARK)
def test_spark_drivers_can_run(where: str) -> None:
    values, expected = SPARK[where]
    found = render({**values, "rbac": {"create": False}, "serviceAccount": {"create": False}})
    wanted = [f"{namespace}/{spark_account()}" for namespace in expected]
    for kind in ("ServiceAccount", "Role", "RoleBinding"):
        assert names(found, kind) == wanted
    for binding in (o for o in found if o["kind"] == "RoleBinding"):
        assert binding["subjects"][0]["namespace"] == binding["metadata"]["namespace"]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_service_account_gives_its_token_to_pods_that_do_not_ask(name: str) -> None:
    for rendered in render(VARIANTS[name]):
        if rendered["kind"] == "ServiceAccount":
            assert rendered["automountServiceAccountToken"] is False


def test_an_account_of_the_users_own_is_bound_and_not_made() -> None:
    found = render({"serviceAccount": {"create": False, "name": "theirs"}})
    assert names(found, "ServiceAccount") == []
    assert one(found, "ClusterRoleBinding")["subjects"][0]["name"] == "theirs"
    spec = one(found, "Deployment")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "theirs"


@pytest.mark.parametrize("name", ["two-namespaces", "switched-off"])
def test_an_operator_of_some_namespaces_can_do_without_anything_cluster_wide(name: str) -> None:
    assert not CLUSTER_WIDE & {rendered["kind"] for rendered in render(VARIANTS[name])}


# --- the network -------------------------------------------------------------------------------
def policy(*, reports: bool = True, **values: Any) -> dict[str, Any]:
    values = {"networkPolicy": values, "progress": {"enabled": reports}}
    found: dict[str, Any] = one(render(values), "NetworkPolicy")["spec"]
    return found


def test_nobody_may_scrape_unless_named() -> None:
    # A rule without `from` would let everybody in, so there is none.
    assert "ingress" not in policy(reports=False)
    assert policy()["policyTypes"] == ["Ingress"]
    peers = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    assert policy(reports=False, metricsFrom=peers)["ingress"] == [
        {"from": peers, "ports": [{"port": "http", "protocol": "TCP"}]}
    ]
    assert len(policy(metricsFrom=peers)["ingress"]) == 2


def test_with_a_pod_monitor_any_pod_may_scrape_until_somebody_is_named() -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    for given, from_ in (([], [{"namespaceSelector": {}}]), (peers, peers)):
        values = {"podMonitor": {"enabled": True}, "networkPolicy": {"metricsFrom": given}}
        rule = one(render(values), "NetworkPolicy")["spec"]["ingress"][0]
        assert rule == {"from": from_, "ports": [{"port": "http", "protocol": "TCP"}]}


def test_pods_of_jobs_may_report_and_others_not() -> None:
    (rule,) = policy()["ingress"]
    assert rule["ports"] == [{"port": "status", "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchExpressions"] == [{"key": LABEL_INDEX, "operator": "Exists"}]
    assert peer["namespaceSelector"] == {}, "jobs may be anywhere"


def test_the_secret_is_empty_so_that_what_is_in_it_stays() -> None:
    secret = one(render(), "Secret")
    assert not {"data", "stringData", "immutable"} & set(secret)


def test_the_operator_reaches_the_api_server_and_dns_and_nothing_else() -> None:
    assert "egress" not in policy()
    api, dns = policy(egress=True, apiServer={"cidrs": ["192.0.2.1/32"], "ports": [6443]})["egress"]
    assert api == {
        "ports": [{"port": 6443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}],
    }
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert dns["to"]
    assert len(policy(egress=True, dns=[])["egress"]) == 1


# --- as a part of other things -----------------------------------------------------------------
def test_it_can_be_a_subchart(tmp_path: Path) -> None:
    umbrella = {"apiVersion": "v2", "name": "platform", "version": "1.0.0"}
    umbrella["dependencies"] = [{"name": CHART.name, "version": __version__}]  # type: ignore[assignment]
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(umbrella))
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / CHART.name).symlink_to(CHART)
    values = {"global": {"registry": "x"}, CHART.name: {"namespaces": ["a"]}}
    found = render(values, chart=tmp_path, release="platform")
    assert names(found, "Role") == [
        "a/platform-trainingjob-operator",
        "a/trainingjob-spark",
        f"{NAMESPACE}/platform-trainingjob-operator-status",
    ]


NOTES = {
    "Spark drivers can run in team-a, team-b.": {"namespaces": ["team-a", "team-b"]},
    "No namespace has the service account of Spark drivers yet": {},
    "serves all namespaces.": {},
    "serves team-a.": {"namespaces": ["team-a"]},
}


@pytest.mark.parametrize("words", NOTES)
def test_the_notes_say(words: str) -> None:
    done = run(
        "helm",
        *("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client"),
        *("--values", "-"),
        input=yaml.safe_dump(NOTES[words]),
    )
    assert words in done.stdout.partition("NOTES:")[2]


def test_a_packaged_chart_has_all_that_it_needs(tmp_path: Path) -> None:
    run("helm", "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    values = VARIANTS["everything"]
    assert objects(template(values, chart=package).stdout) == render(values)


def test_no_file_of_the_chart_names_a_place_on_this_machine() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            assert str(ROOT) not in path.read_text(encoding="utf-8")
