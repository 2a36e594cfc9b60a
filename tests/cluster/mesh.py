"""A cluster that puts containers of its own into a namespace's pods, as meshes and agents do."""

from __future__ import annotations

from typing import Any

from .controlplane import ControlPlane
from .wait import wait_for

POLICIES = "/apis/admissionregistration.k8s.io/v1"
# They never end by themselves, and keep to the restricted standard.
CONTAINER = """{{
  "name": dyn("{name}"), "image": dyn("{image}"), {more}
  "command": dyn(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1; done"]),
  "securityContext": dyn({{
    "runAsUser": dyn(65532), "allowPrivilegeEscalation": dyn(false),
    "capabilities": dyn({{"drop": ["ALL"]}})}})}}"""
# Before ours. An ApplyConfiguration could not set a command.
PATCH = """[
JSONPatch{{op: "add", path: "/spec/containers/0", value: {sidecar}}},
JSONPatch{{op: "add", path: "/spec/initContainers", value: [{init}]}}]"""


class Mesh:
    """A context manager, for one namespace: a container ``agent`` beside ours, before it an init
    container ``setup``, which is a native sidecar where ``native`` says so."""

    def __init__(
        self, control_plane: ControlPlane, namespace: str, image: str, *, native: bool = False
    ) -> None:
        self._cluster = control_plane
        self._namespace = namespace
        always = '"restartPolicy": dyn("Always"),' if native else ""
        self._expression = PATCH.format(
            sidecar=CONTAINER.format(name="agent", image=image, more=""),
            init=CONTAINER.format(name="setup", image=image, more=always),
        )

    def __enter__(self) -> None:
        name = self._namespace
        labelled = {"metadata": {"labels": {"mesh": name}}}
        self._send("PATCH", f"/api/v1/namespaces/{name}", labelled)
        for kind, spec in self._objects().items():
            self._send("POST", f"{POLICIES}/{kind}", {"metadata": {"name": name}, "spec": spec})
        wait_for("the policy to hold", self._holds)

    def __exit__(self, *_: object) -> None:
        for kind in self._objects():
            self._cluster.request("DELETE", f"{POLICIES}/{kind}/{self._namespace}")

    def _objects(self) -> dict[str, dict[str, Any]]:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
        mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": self._expression}}
        selector = {"matchLabels": {"mesh": self._namespace}}
        return {
            "mutatingadmissionpolicies": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {"resourceRules": [rule | {"resources": ["pods"]}]},
                "mutations": [mutation],
            },
            "mutatingadmissionpolicybindings": {
                "policyName": self._namespace,
                "matchResources": {"namespaceSelector": selector},
            },
        }

    def _holds(self) -> bool:
        probe = {
            "metadata": {"name": "probe"},
            "spec": {
                "securityContext": {
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "probe",
                        "image": "x",
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }
        path = f"/api/v1/namespaces/{self._namespace}/pods?dryRun=All"
        status, answer = self._cluster.request("POST", path, probe)
        assert status in (201, 500), answer
        return len(answer.get("spec", {}).get("containers", ())) == 2

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        status, answer = self._cluster.request(method, path, body)
        assert status in (200, 201), answer
