"""What our containers have in common."""

from __future__ import annotations

from typing import Any

RUNTIME = ["python", "-m", "trainingjob.runtime"]
# The group of our images' user.
_GROUP = 65532


def pod_security() -> dict[str, Any]:
    """Of a pod, as the restricted Pod Security Standard wants it.

    The group lets users other than root write to the claims, whoever a pod's image makes it run
    as; it is given to a volume once, and not file by file at every start.
    """
    return {
        "runAsNonRoot": True,
        "fsGroup": _GROUP,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Of a container, as the restricted Pod Security Standard wants it."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
