"""Nobody gets more by a job than he has: the chart's admission policies, on a real API server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import yaml

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .harness import manifest
from .test_rbac import CHART, RELEASE

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs?dryRun=All"
PODS = "/api/v1/namespaces/{}/pods"


class Tenants:
    """A namespace with the policies, and accounts: all may make jobs, and have these rights."""

    RIGHTS: ClassVar[dict[str, list[tuple[str, str, str, list[str]]]]] = {
        "jobs": [],
        "own": [("", "secrets", "get", ["mine"]), ("", "configmaps", "get", ["mine"])],
        "pods": [("", "pods", "create", []), ("", "pods", "update", [])],
        "all": [("", kind, "get", []) for kind in ("secrets", "configmaps")]
        + [("", "pods", "create", [])],
    }

    def __init__(self, plane: ControlPlane, name: str, home: str) -> None:
        self.plane, self.name, self.home = plane, name, home
        values = f"namespaces={{{name}}},fullnameOverride={name}"
        told = plane.helm("template", RELEASE, CHART, "--namespace", home, "--set", values)
        mine = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        spark = ("ServiceAccount", "Role", "RoleBinding")
        self.objects = [
            one
            for one in yaml.safe_load_all(told.stdout)
            if one["kind"] in mine or (one["kind"] in spark and "spark" in one["metadata"]["name"])
        ]
        plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(self.objects))
        for account, more in self.RIGHTS.items():
            self._account(account, more)
        self.operator = self._account(name, [("", "pods", "create", [])], home)

    def _account(
        self, name: str, more: list[tuple[str, str, str, list[str]]], home: str = ""
    ) -> str:
        home = home or self.name
        rules: list[dict[str, Any]] = [
            {"apiGroups": ["trainingjob.dev"], "resources": ["trainingjobs"], "verbs": ["*"]}
        ]
        for group, resource, verb, names in more:
            rule = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
            rules.append(rule | ({"resourceNames": names} if names else {}))
        rbac = "rbac.authorization.k8s.io"
        where = {"name": f"is-{name}", "namespace": self.name}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": home}
        objects = [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": home},
            },
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": where, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": where,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": f"is-{name}"},
                "subjects": [subject],
            },
        ]
        self.plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
        self.plane.service_account_kubeconfig(home, name)
        return f"system:serviceaccount:{home}:{name}"

    def user(self, account: str) -> str:
        return f"system:serviceaccount:{self.name}:{account}"

    def apply(self, account: str, job: dict[str, Any]) -> tuple[int, str]:
        status, answer = self.plane.request("POST", JOBS.format(self.name), job, self.user(account))
        return status, str(answer.get("message", ""))

    def pod(self, user: str, pod: dict[str, Any], dry: bool = True) -> tuple[int, str]:
        path = PODS.format(self.name) + ("?dryRun=All" if dry else "")
        status, answer = self.plane.request("POST", path, pod, user)
        return status, str(answer.get("message", ""))

    def driver(self, job: str) -> tuple[str, dict[str, str]]:
        """A driver pod of the operator's, and the user that its token is."""
        path = JOBS.format(self.name).partition("?")[0]
        uid = self.plane.request("POST", path, manifest(job))[1]["metadata"]["uid"]
        pod = pod_of(job)
        pod["metadata"]["ownerReferences"][0]["uid"] = uid  # else it is collected as garbage
        made = self.plane.request("POST", PODS.format(self.name), pod, self.operator)[1]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": made["metadata"]["name"]}
        bound["uid"] = made["metadata"]["uid"]
        status, token = self.plane.request(
            "POST",
            f"/api/v1/namespaces/{self.name}/serviceaccounts/trainingjob-spark/token",
            {"spec": {"boundObjectRef": bound, "expirationSeconds": 3600}},
        )
        assert status == 201, token
        user = f"driver-of-{job}"
        self.plane._client.tokens[user] = token["status"]["token"]
        return user, bound


def pod_of(job: str, **spec: Any) -> dict[str, Any]:
    """A driver as the operator makes it."""
    labels = {"job": job, "stage": "preprocess", "attempt": "1", "index": "0"}
    owner = {"apiVersion": "trainingjob.dev/v1alpha1", "kind": "TrainingJob", "name": job}
    meta = {
        "name": f"{job}-preprocess-1-0",
        "labels": {f"trainingjob.dev/{key}": value for key, value in labels.items()},
        "ownerReferences": [owner | {"uid": "1", "controller": True}],
    }
    base = {"serviceAccountName": "trainingjob-spark", "containers": [{"name": "a", "image": "b"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": base | spec}


def executor(job: str, owner: dict[str, str], **spec: Any) -> dict[str, Any]:
    """As Spark makes it."""
    labels = {"job": job, "stage": "preprocess", "attempt": "1", "role": "executor"}
    meta = {
        "name": f"{job}-1-exec-1",
        "labels": {f"trainingjob.dev/{key}": value for key, value in labels.items()},
        "ownerReferences": [owner | {"controller": True}],
    }
    base: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [{"name": "a", "image": "b"}],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": base | spec}


@pytest.fixture(scope="module")
def tenants(control_plane: ControlPlane) -> Iterator[Tenants]:
    found = Tenants(control_plane, control_plane.namespace(), control_plane.namespace())
    guarded = manifest(preprocess=SPARK)
    wait_for("the policies", lambda: found.apply("jobs", guarded)[0] == 422, 20)
    intruder = pod_of("other")
    admin = "admin"
    wait_for("the policy of marks", lambda: found.pod(admin, intruder)[0] == 422, 20)
    yield found
    for one in found.objects:
        if one["kind"].startswith("Validating"):
            control_plane.kubectl("delete", one["kind"], one["metadata"]["name"])


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
    "a Secret as a volume": (
        {"template": {"volumes": [{"name": "v", "secret": {"secretName": "NAME"}}]}},
        "secrets",
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
        "code": manifest(train={"code": {"configMap": {"name": "theirs"}}}),
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
