"""A pod as the core sees it: the few facts that decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..api.v1alpha1.status import parse_time
from .names import LABEL_ATTEMPT, LABEL_INDEX, LABEL_ROLE, LABEL_STAGE, ROLE_EXECUTOR

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True)
class PodView:
    """Facts of one pod. Times are aware; ``message`` is the termination message; ``index`` is -1
    for a Spark executor."""

    name: str
    uid: str
    stage: str
    attempt: int
    index: int
    phase: PodPhase
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    deleting: bool = False
    delete_by: datetime | None = None  # when its grace period is over
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    terminated_reason: str = ""
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    disrupted: str = ""
    pod_reason: str = ""
    log_tail: str = ""

    @property
    def over(self) -> bool:
        """No container of it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @classmethod
    def from_dict(cls, pod: Mapping[str, Any], log_tail: str = "") -> PodView:
        """Read a v1 Pod. Raises KeyError or ValueError for a pod without our labels."""
        meta = pod["metadata"]
        status = pod.get("status") or {}
        containers = status.get("containerStatuses") or [{}]
        state = containers[0].get("state") or {}
        waiting = state.get("waiting") or {}
        running = state.get("running") or {}
        terminated = state.get("terminated") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        scheduled = conditions.get("PodScheduled") or {}
        disruption = conditions.get("DisruptionTarget") or {}
        exit_code = terminated.get("exitCode")
        signal = terminated.get("signal")
        if not signal and exit_code is not None and exit_code > 128:
            # A shell and a container runtime alike tell signal N as 128 + N.
            signal = exit_code - 128
        return cls(
            name=meta["name"],
            uid=meta.get("uid", ""),
            stage=meta["labels"][LABEL_STAGE],
            attempt=int(meta["labels"][LABEL_ATTEMPT]),
            index=-1 if is_executor(pod) else int(meta["labels"][LABEL_INDEX]),
            phase=status.get("phase", "Pending"),
            created=_time(meta.get("creationTimestamp")),
            started=_time(running.get("startedAt") or terminated.get("startedAt")),
            finished=_time(terminated.get("finishedAt")),
            deleting="deletionTimestamp" in meta,
            delete_by=_time(meta.get("deletionTimestamp")),
            node=(pod.get("spec") or {}).get("nodeName", ""),
            exit_code=exit_code,
            signal=signal or None,
            terminated_reason=terminated.get("reason", ""),
            message=terminated.get("message", ""),
            waiting_reason=waiting.get("reason", ""),
            waiting_message=waiting.get("message", ""),
            unschedulable=(
                scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else ""
            ),
            disrupted=(
                disruption.get("message") or disruption.get("reason", "DisruptionTarget")
                if disruption.get("status") == "True"
                else ""
            ),
            pod_reason=status.get("reason", ""),
            log_tail=log_tail,
        )


def is_executor(pod: Mapping[str, Any]) -> bool:
    """Whether a v1 Pod was made by a Spark driver."""
    return bool(pod["metadata"].get("labels", {}).get(LABEL_ROLE) == ROLE_EXECUTOR)


def _time(value: str | None) -> datetime | None:
    parsed = parse_time(value)
    return parsed if isinstance(parsed, datetime) else None
