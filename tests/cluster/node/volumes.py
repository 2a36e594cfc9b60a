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
    folder = volume(node, namespace, name, mode=mode, size=size)
    wish = {
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": f"{namespace}-{name}",
            "resources": {"requests": {"storage": size}},
        },
    }
    claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    code, answer = node.control_plane.request("POST", claims, wish)
    assert code == 201, answer
    wait_for("the volume to be bound", lambda: _phase(node, f"{claims}/{name}") == "Bound")
    return folder


def volume(node: Node, namespace: str, name: str, *, mode: int = 0o777, size: str = "10Gi") -> Path:
    """Make a PersistentVolume for a claim that somebody else makes; the folder."""
    folder = node.folder / "volumes" / namespace / name
    folder.mkdir(parents=True)
    folder.chmod(mode)
    here = {"key": NODE, "operator": "In", "values": [node.name]}
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "storageClassName": "",
        "capacity": {"storage": size},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": name},
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    body = {"metadata": {"name": f"{namespace}-{name}"}, "spec": spec}
    code, answer = node.control_plane.request("POST", "/api/v1/persistentvolumes", body)
    assert code == 201, answer
    return folder


def _phase(node: Node, path: str) -> str:
    return str(node.control_plane.request("GET", path)[1].get("status", {}).get("phase"))
