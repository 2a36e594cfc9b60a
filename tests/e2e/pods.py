"""Small pods of busybox: made, waited for, read."""

from __future__ import annotations

from typing import Any

from tests.cluster.node.node import Node
from tests.cluster.wait import wait_for

USER = 65532
SECONDS = 60


def pod(
    name: str,
    image: str,
    script: str,
    *,
    limits: dict[str, str] | None = None,
    mounts: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod that meets the restricted standard. ``mounts``: claim -> path; ``spec``: of the pod."""
    mounts = mounts or {}
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": ["sh", "-c", script],
        "resources": {"limits": limits or {}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": claim, "mountPath": path} for claim, path in mounts.items()],
    }
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "restartPolicy": "Never",
            # A shell as process 1 does not hear SIGTERM.
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in mounts
            ],
            **spec,
        },
    }


class Pods:
    """The pods of one namespace. ``seconds``: how long to wait for each step of one."""

    def __init__(self, node: Node, namespace: str, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._node = node
        self._namespace = namespace
        self._image = node.images.busybox()
        self._path = f"/api/v1/namespaces/{namespace}"

    def start(self, name: str, script: str, *, image: str = "", **options: Any) -> None:
        self.post("pods", pod(name, image or self._image, script, **options))

    def run(self, script: str, name: str = "main", **options: Any) -> dict[str, Any]:
        """How its container ended: exitCode, reason, message."""
        self.start(name, script, **options)
        return self.ended(name)

    def post(self, plural: str, body: dict[str, Any]) -> None:
        status, answer = self._node.control_plane.request("POST", f"{self._path}/{plural}", body)
        assert status == 201, answer

    def get(self, name: str) -> dict[str, Any]:
        """The pod; empty when there is none."""
        status, answer = self._node.control_plane.request("GET", f"{self._path}/pods/{name}")
        return answer if status == 200 else {}

    def delete(self, name: str) -> None:
        """Returns when it is gone."""
        self._node.control_plane.request("DELETE", f"{self._path}/pods/{name}")
        wait_for(f"the end of pod {name}", lambda: not self.get(name), self._seconds)

    def running(self, name: str) -> dict[str, Any]:
        """The pod, as soon as its container runs."""
        return wait_for(f"pod {name} to run", lambda: self._in(name, "Running"), self._seconds)

    def ended(self, name: str) -> dict[str, Any]:
        found = wait_for(
            f"the end of pod {name}",
            lambda: self._in(name, "Succeeded") or self._in(name, "Failed"),
            self._seconds,
        )
        return dict(found["status"]["containerStatuses"][0]["state"]["terminated"])

    def waits(self, name: str) -> str:
        """Why its container does not run yet; empty when that is not known."""
        status = self.get(name).get("status", {})
        for container in status.get("containerStatuses", []):
            return str(container["state"].get("waiting", {}).get("reason", ""))
        for condition in status.get("conditions", []):
            if condition["status"] == "False":
                return f"{condition.get('reason')}: {condition.get('message')}"
        return ""

    def logs(self, name: str = "main") -> str:
        return self._node.control_plane.kubectl("logs", "-n", self._namespace, name).stdout

    def _in(self, name: str, phase: str) -> dict[str, Any]:
        found = self.get(name)
        return found if found.get("status", {}).get("phase") == phase else {}
