"""Nobody gets more by a job than he has: the chart's admission policies, on a real API server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .harness import manifest
from .tenants import JOBS, PODS, Tenants, executor, pod_of


@pytest.fixture(scope="module")
def tenants(control_plane: ControlPlane) -> Iterator[Tenants]:
    found = Tenants(control_plane, control_plane.namespace(), control_plane.namespace())
    guarded = manifest(preprocess=SPARK)
    wait_for("the policies", lambda: found.apply("jobs", guarded)[0] == 422, 20)
    intruder = pod_of("other")
    admin = "admin"
    wait_for("the policy of marks", lambda: found.pod(admin, intruder)[0] == 422, 20)
    yield found
    found.leave()


SPARK = {
    "engine": "spark",
    "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
    "split": {"test": 0.2},
}
PANDAS = SPARK | {"engine": "pandas"}
STAGES: dict[str, dict[str, Any]] = {
    "preprocess": PANDAS,
    "train": {"model": {"mlp": {"hidden": [8]}}},
    "evaluate": {"gates": [{"metric": "accuracy", "min": 0.5}]},
}
# What a job may use of others, with who may have it used.
FRAGMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a Secret as variables": ({"envFrom": [{"secretRef": {"name": "NAME"}}]}, "secrets"),
    "the last of three": (
        {"envFrom": [{"secretRef": {"name": name}} for name in ("mine", "mine", "NAME")]},
        "secrets",
    ),
    "the ninth": ({"envFrom": [{"secretRef": {"name": "NAME"}}] * 9}, "secrets of all"),
    "a pull secret": ({"template": {"imagePullSecrets": [{"name": "NAME"}]}}, "secrets"),
    "a ConfigMap as variables": ({"envFrom": [{"configMapRef": {"name": "NAME"}}]}, "configmaps"),
    "a ConfigMap as a volume": (
        {
            "template": {
                "volumes": [{"name": "v", "configMap": {"name": "NAME"}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        },
        "configmaps",
    ),
    "a priority class": ({"template": {"priorityClassName": "NAME"}}, "pods"),
}
MAY: dict[str, set[str]] = {
    "jobs": set(),
    "own": {"mine"},
    "pods": {"pods"},
    "all": {"pods", "secrets", "configmaps", "secrets of all"},
}


def probes() -> Iterator[tuple[str, str, str, dict[str, Any], bool]]:
    """Account, what is tried, a job, and whether it is the author's to give."""
    names = ("mine", "theirs", "kube-root-ca.crt", "system-node-critical", "a.b")
    for account, stage, (what, (fragment, right)), name in itertools.product(
        MAY, STAGES, FRAGMENTS.items(), names
    ):
        text = yaml.safe_dump(fragment).replace("NAME", name)
        job = manifest(**{stage: STAGES[stage] | yaml.safe_load(text)})
        may = MAY[account]
        own = name == "mine" and "mine" in may and right in ("secrets", "configmaps")
        yield account, what, f"{stage} {name}", job, right in may or own


def test_a_job_uses_nothing_that_its_author_has_no_right_to(tenants: Tenants) -> None:
    found, wrong = 0, []
    outcomes: dict[tuple[str, str], list[bool]] = {}
    for account, what, case, job, allowed in probes():
        status, message = tenants.apply(account, job)
        found += 1
        outcomes.setdefault((account, what), []).append(status == 201)
        refused = status == 422 and ("you " in message or "yourself" in message)
        if not (status == 201 if allowed else refused):
            wrong.append((account, what, case, status, message))
    assert wrong == []
    assert found >= 400
    for (account, what), taken in outcomes.items():
        print(f"{account:6} {what:28} {sum(taken):3} of {len(taken)} taken")


@pytest.mark.parametrize("account", MAY)
def test_spark_is_for_who_may_make_pods(tenants: Tenants, account: str) -> None:
    status, message = tenants.apply(account, manifest(preprocess=SPARK))
    assert status == (201 if "pods" in MAY[account] else 422), message


def test_scripts_and_hadoop_settings_count_too(tenants: Tenants) -> None:
    kerberos = {"principal": "a@B", "keytabSecret": {"name": "theirs", "key": "k"}}
    hdfs = {"configMap": {"name": "mine"}, "kerberos": kerberos}
    jobs = {
        "theirs": manifest(train={"script": {"configMap": {"name": "theirs", "key": "a.py"}}}),
        "keytab": manifest(storage={"uri": "hdfs://name:8020/runs", "hdfs": hdfs}),
    }
    for what, job in jobs.items():
        status, message = tenants.apply("own", job)
        assert (status, "theirs, which you may not get" in message) == (422, True), (what, message)
        assert tenants.apply("all", job)[0] == 201


def test_who_only_suspends_a_job_needs_no_rights_of_its(tenants: Tenants) -> None:
    job = manifest("held", train=STAGES["train"] | {"envFrom": [{"secretRef": {"name": "theirs"}}]})
    job["spec"]["suspend"] = True
    path = JOBS.format(tenants.name).partition("?")[0]
    status, made = tenants.plane.request("POST", path, job)
    assert status == 201, made
    merge = "application/merge-patch+json"
    for patch in (
        {"spec": {"suspend": False}},
        {"spec": {"suspend": True}},
        {"metadata": {"annotations": {"a": "b"}}},
    ):
        status, told = tenants.plane.request(
            "PATCH", f"{path}/held", patch, tenants.user("jobs"), merge
        )
        assert status == 200, told
    more = {"spec": {"train": {"template": {"priorityClassName": "high"}}}}
    status, told = tenants.plane.request("PATCH", f"{path}/held", more, tenants.user("jobs"), merge)
    assert status == 422, told
    assert "the job uses the Secret theirs" in told["message"]


def test_only_the_operator_makes_pods_of_a_job(tenants: Tenants) -> None:
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}}
    plain["spec"] = {"containers": [{"name": "a", "image": "b"}]}
    forged = [
        {"labels": {f"trainingjob.dev/{name}": "1"}}
        for name in ("stage", "attempt", "index", "role")
    ]
    forged.append({"ownerReferences": pod_of("a")["metadata"]["ownerReferences"]})
    for user, meta in itertools.product(("admin", tenants.user("pods")), forged):
        status, message = tenants.pod(user, plain | {"metadata": {"name": "plain"} | meta})
        assert (status, "operator" in message) == (422, True), (user, meta, message)
    assert tenants.pod(tenants.user("pods"), plain, dry=False)[0] == 201
    assert tenants.pod(tenants.operator, pod_of("mine"))[0] == 201
    path = f"{PODS.format(tenants.name)}/plain"
    merge = "application/merge-patch+json"
    for meta in forged:
        status, told = tenants.plane.request("PATCH", path, {"metadata": meta}, "admin", merge)
        assert status == 422, told
    harmless = {"metadata": {"labels": {"team": "a"}}}
    assert tenants.plane.request("PATCH", path, harmless, "admin", merge)[0] == 200


def test_kubernetes_makes_the_pods_that_serve_a_model(tenants: Tenants) -> None:
    labels = {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "deploy"}
    pod = {"containers": [{"name": "a", "image": "b"}]}
    template = {"metadata": {"labels": labels | {"app": "served"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "served"}}, "template": template}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served"}}
    path = f"/apis/apps/v1/namespaces/{tenants.name}/deployments"
    assert tenants.plane.request("POST", path, made | {"spec": spec})[0] == 201
    pods = PODS.format(tenants.name) + "?labelSelector=app%3Dserved"
    wait_for("its pod", lambda: tenants.plane.request("GET", pods)[1]["items"], 30)


def test_a_driver_makes_its_own_executors_and_nothing_else(tenants: Tenants) -> None:
    spark, owner = tenants.driver("one")
    _, other = tenants.driver("two")
    account = f"system:serviceaccount:{tenants.name}:trainingjob-spark"
    tenants.plane.service_account_kubeconfig(tenants.name, "trainingjob-spark")
    good = executor("one", owner)
    assert tenants.pod(spark, good, dry=False) == (201, "")

    def secret(name: str) -> dict[str, Any]:
        return {"volumes": [{"name": name, "secret": {"secretName": "theirs"}}]}

    projected = [{"serviceAccountToken": {"path": "token"}}]
    bare = {key: value for key, value in good["spec"].items() if key[:4] != "auto"}
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "token of no pod": (account, good),
        "of another's driver": (spark, executor("one", other)),
        "of another job": (spark, executor("two", owner)),
        "no labels": (spark, good | {"metadata": good["metadata"] | {"labels": {}}}),
        "a driver": (spark, pod_of("one")),
        "an account": (spark, executor("one", owner, serviceAccountName="all")),
        "its own account": (spark, executor("one", owner, serviceAccountName="trainingjob-spark")),
        "a token": (spark, executor("one", owner, automountServiceAccountToken=True)),
        "a token by default": (spark, good | {"spec": bare}),
        "a Secret": (spark, executor("one", owner, **secret("mine"))),
        "a token as a volume": (
            spark,
            executor("one", owner, volumes=[{"name": "t", "projected": {"sources": projected}}]),
        ),
        "the node's disk": (
            spark,
            executor("one", owner, volumes=[{"name": "h", "hostPath": {"path": "/"}}]),
        ),
    }
    for what, (user, pod) in cases.items():
        pod = pod | {"metadata": pod["metadata"] | {"name": "another"}}
        status, message = tenants.pod(user, pod)
        assert (status, "ValidatingAdmissionPolicy" in message) == (422, True), (what, message)
        print(f"a Spark driver tries {what:24} {message.rpartition(': ')[2]}")
    merge = "application/merge-patch+json"
    label = {"metadata": {"labels": {"a": "b"}}}
    pods = PODS.format(tenants.name)
    for name, code in {"one-1-exec-1": 200, "two-preprocess-1-0": 422}.items():
        assert tenants.plane.request("PATCH", f"{pods}/{name}", label, spark, merge)[0] == code
    assert tenants.plane.request("DELETE", f"{pods}/two-preprocess-1-0", None, spark)[0] == 422
    assert tenants.plane.request("DELETE", f"{pods}/one-1-exec-1", None, spark)[0] == 200
