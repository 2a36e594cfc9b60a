"""A release of the chart in a real cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .helm import CHART, RELEASE

JOBS = "/apis/trainingjob.dev/v1alpha1"
JOB: dict[str, Any] = {
    "apiVersion": "trainingjob.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "digits"},
    "spec": {
        "task": {"type": "classification", "label": "target"},
        "storage": {"uri": "pvc://training/runs"},
        "train": {
            "dataset": {"uri": "pvc://datasets/digits"},
            "model": {"mlp": {"hidden": [64]}},
        },
    },
}


class Release:
    """`helm` for one release; installs nothing by itself."""

    def __init__(self, cluster: ControlPlane, namespace: str, name: str = RELEASE) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name

    def helm(self, verb: str, *arguments: str | Path, **more: Any) -> str:
        """The output of a command for this release. Raises CommandFailedError."""
        command = (verb, self.name, *arguments, "--namespace", self.namespace)
        return self.cluster.helm(*command, **more).stdout

    def install(self, values: Mapping[str, Any] | None = None, *flags: str, **more: Any) -> None:
        """Returns when TrainingJobs are served; pods are not waited for, as none can run here."""
        self._put("install", values, *flags, **more)
        if not values or values.get("crds", {}).get("install", True):
            self.await_crd()

    def upgrade(self, values: Mapping[str, Any] | None = None, *flags: str, **more: Any) -> None:
        """The values are all that are set: nothing of the last revision's is taken over."""
        self._put("upgrade", values, "--reset-values", *flags, **more)

    def _put(
        self,
        verb: str,
        values: Mapping[str, Any] | None,
        *flags: str,
        chart: Path = CHART,
        user: str = "admin",
    ) -> None:
        text = json.dumps(values or {})
        self.helm(verb, chart, "--values", "-", *flags, input=text, user=user)

    def uninstall(self) -> None:
        self.helm("uninstall")

    def await_crd(self) -> None:
        """Until the API server serves TrainingJobs."""
        wait_for(
            "TrainingJobs", lambda: self.cluster.request("GET", f"{JOBS}/trainingjobs")[0] == 200
        )

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """An object of the cluster."""
        flags = ("--namespace", namespace) if namespace else ()
        done = self.cluster.kubectl("get", kind, name, *flags, "-o", "json", check=False)
        if done.returncode:
            assert "NotFound" in done.stderr, done.stderr
            return None
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @property
    def container(self) -> dict[str, Any]:
        """The operator's container as the cluster has it."""
        deployment = self.get("deployment", self.name, self.namespace)
        assert deployment is not None
        found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
        return found


def run_job(cluster: ControlPlane, namespace: str) -> tuple[str, str]:
    """Make a job and a pod that it owns; their paths."""
    jobs, pods = (
        f"{JOBS}/namespaces/{namespace}/trainingjobs",
        f"/api/v1/namespaces/{namespace}/pods",
    )
    status, job = cluster.request("POST", jobs, JOB)
    assert status == 201, job
    owner = {key: job[key] for key in ("apiVersion", "kind")}
    owner |= {key: job["metadata"][key] for key in ("name", "uid")}
    pod = {
        "metadata": {"name": "digits-train-1-0", "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "train", "image": "nothing"}]},
    }
    status, answer = cluster.request("POST", pods, pod, _operator(cluster))
    assert status == 201, answer
    return f"{jobs}/digits", f"{pods}/digits-train-1-0"


def _operator(cluster: ControlPlane) -> str:
    """The user that the release's operator is: nobody else makes pods of a job."""
    _, accounts = cluster.request("GET", "/api/v1/serviceaccounts")
    home = next(
        one["metadata"]["namespace"]
        for one in accounts["items"]
        if one["metadata"]["name"] == RELEASE
    )
    cluster.service_account_kubeconfig(home, RELEASE)
    return f"system:serviceaccount:{home}:{RELEASE}"
