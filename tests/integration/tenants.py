"""Accounts of a namespace that has the chart's admission policies, and what they may have."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml

from tests.cluster.build import ROOT
from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .harness import manifest

CHART = ROOT / "charts/trainingjob-operator"
RELEASE = "trainingjob-operator"
JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs?dryRun=All"
PODS = "/api/v1/namespaces/{}/pods"


class Tenants:
    """A namespace with the policies, and accounts: all may make jobs, and have these rights."""

    RIGHTS: ClassVar[dict[str, list[tuple[str, str, str, list[str]]]]] = {
        "jobs": [],
        "own": [("", "secrets", "get", ["mine"]), ("", "configmaps", "get", ["mine"])],
        "pods": [("", "pods", verb, []) for verb in ("create", "update", "patch")],
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

    def guarded(self) -> None:
        """Return when the policies hold, which takes the API server a moment."""
        spark = manifest()["spec"]["preprocess"] | {"engine": "spark"}
        job = manifest(preprocess=spark)
        wait_for("the policy of authors", lambda: self.apply("jobs", job)[0] == 422, 20)
        wait_for("that of marks", lambda: self.pod("admin", pod_of("other"))[0] == 422, 20)

    def stranger(self) -> None:
        """A pod ``theirs`` of nobody's job."""
        pod = {
            "metadata": {"name": "theirs"},
            "spec": {"containers": [{"name": "a", "image": "b"}]},
        }
        status, message = self.pod("admin", pod, dry=False)
        assert status == 201, message

    def leave(self) -> None:
        """Take the policies away, which are of the whole cluster."""
        for one in self.objects:
            if one["kind"].startswith("Validating"):
                self.plane.kubectl("delete", one["kind"], one["metadata"]["name"])

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
