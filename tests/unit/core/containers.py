"""Statuses of containers, as the kubelet 1.36 writes them."""

from __future__ import annotations

import json
from typing import Any

from trainingjob.core import PodView

LABELS = {
    "trainingjob.dev/stage": "train",
    "trainingjob.dev/attempt": "1",
    "trainingjob.dev/index": "0",
}
CREATED = "2026-11-28T07:00:00Z"
RESULT = json.dumps({"result": {"outputs": {"uri": "pvc://runs"}}})
REPORT = json.dumps({"error": {"reason": "DiskFull", "message": "no room"}})

State = dict[str, Any]


def status(name: str, state: State, **more: Any) -> State:
    return {"name": name, "image": "x", "restartCount": 0, "state": state, **more}


def running(at: str = "2026-11-28T07:00:10Z") -> State:
    return {"running": {"startedAt": at}}


def waiting(reason: str, message: str = "") -> State:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int = 0, message: str = "", reason: str = "", **more: Any) -> State:
    told = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "message": message,
        "startedAt": "2026-11-28T07:00:10Z",
        "finishedAt": "2026-11-28T07:01:00Z",
    }
    return {"terminated": told | more}


def view(
    phase: str,
    *beside: State,
    train: State | None = None,
    init: tuple[State, ...] = (),
    meta: State | None = None,
    **more: Any,
) -> PodView:
    """A pod whose own container is in the state ``train``, with others beside it."""
    statuses = [*beside, *([status("train", train)] if train is not None else [])]
    found = {"phase": phase, "initContainerStatuses": [*init], **more}
    found["containerStatuses"] = sorted(statuses, key=lambda container: container["name"])
    metadata = {"name": "p", "labels": LABELS, "creationTimestamp": CREATED} | (meta or {})
    return PodView.from_dict({"metadata": metadata, "status": found})


PROXY = status("istio-proxy", running())
DRAINED = [
    {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": "2026-11-28T07:00:50Z",
    }
]


NO_PROGRAM = 'exec: "torchrunn": executable file not found in $PATH'
