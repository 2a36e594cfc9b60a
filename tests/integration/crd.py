"""Jobs in the API server as kubectl and pydantic have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.controlplane import ControlPlane
from tests.unit.api.corpus import ROOT

API = "/apis/trainingjob.dev/v1alpha1"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.trainingjob.dev"
# kubectl keeps a copy of what it applied in an annotation; all of them may have so many bytes.
ANNOTATIONS_LIMIT = 256 * 1024


class Jobs:
    """The jobs of a namespace."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.control_plane = control_plane
        self.namespace = namespace

    def path(self, name: str = "", sub: str = "") -> str:
        parts = (API, "namespaces", self.namespace, "trainingjobs", name, sub)
        return "/".join(filter(None, parts))

    def create(self, manifest: Any, **metadata: Any) -> dict[str, Any]:
        metadata["namespace"] = self.namespace
        obj = manifest | {"metadata": manifest["metadata"] | metadata}
        status, answer = self.control_plane.request("POST", self.path(), obj)
        assert status == 201, answer
        return answer

    def get(self, name: str = "digits") -> dict[str, Any]:
        status, answer = self.control_plane.request("GET", self.path(name))
        assert status == 200, answer
        return answer

    def patch(self, body: Any, sub: str = "", name: str = "digits") -> tuple[int, dict[str, Any]]:
        return self.control_plane.request("PATCH", self.path(name, sub), body)

    def versions(self) -> dict[str, tuple[int, str]]:
        """Generation and resourceVersion by name."""
        items = self.control_plane.request("GET", self.path())[1]["items"]
        return {
            meta["name"]: (meta["generation"], meta["resourceVersion"])
            for meta in (item["metadata"] for item in items)
        }

    def kubectl(self, *args: str | Path, **options: Any) -> str:
        """What it says."""
        done = self.control_plane.kubectl(*args, "-n", self.namespace, **options)
        return done.stdout + done.stderr


# --- kubectl apply, diff, and again ------------------------------------------------------------

# All that GitOps tools meet: 1_024 and 0x2, anchors, other alphabets. One has a namespace of its
# own. Nulls kubectl sends each time, and the server drops them each time.
FILES = {
    path.stem: path.read_text("utf-8").replace("name: digits}", f"name: {path.stem}}}")
    for path in sorted((ROOT / "good").glob("*.yaml"))
    if path.stem not in ("metadata", "explicit-nulls")
}


# --- status ------------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Training",
    "reason": "Retrying",
    "message": "attempt 2 of stage train runs",
    "stages": [
        {"name": "preprocess", "phase": "Succeeded"},
        {"name": "train", "phase": "Running", "attempt": 2},
        {"name": "evaluate"},
    ],
    "progress": {"stage": "train", "percent": 40},
    "evaluation": {
        "metrics": [{"name": "accuracy", "value": 0.9749}, {"name": "f1_macro", "value": 0.5}],
        "passed": True,
    },
}
