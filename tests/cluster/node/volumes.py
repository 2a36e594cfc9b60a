"""A claim whose volume is a folder of this machine: tests put data in and look at the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..wait import wait_for
from .node import Node

NODE = "kubernetes.io/hostname"


def claim(node: Node, namespace: str, name: str, *, mode: int = 0o777, size: str = "10Gi") -> Path:
    """Make a PersistentVolume and a claim bound to it; the folder, gone with the node.

    Everybody may write into it, also a user other than root; with ``mode=0o755`` only pods with an
    ``fsGroup`` may, because kubelet then gives them the folder.
    """
    folder = node.folder / "volumes" / namespace / name
    folder.mkdir(parents=True)
    folder.chmod(mode)
    common: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    here = {"key": NODE, "operator": "In", "values": [node.name]}
    volume = {
        "metadata": {"name": f"{namespace}-{name}"},
        "spec": {
            **common,
            "capacity": {"storage": size},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": name},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
    wish = {
        "metadata": {"name": name},
        "spec": {
            **common,
            "volumeName": f"{namespace}-{name}",
            "resources": {"requests": {"storage": size}},
        },
    }
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    for path, body in {"/api/v1/persistentvolumes": volume, claims: wish}.items():
        code, answer = node.control_plane.request("POST", path, body)
        assert code == 201, answer
    wait_for("the volume to be bound", lambda: _phase(node, f"{claims}/{name}") == "Bound")
    return folder


def _phase(node: Node, path: str) -> str:
    return str(node.control_plane.request("GET", path)[1].get("status", {}).get("phase"))
