"""A pod as the core sees it: the few facts that decide."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..api.v1alpha1.common import amount
from ..api.v1alpha1.status import parse_time
from .names import (
    ANNOTATION_SIGNATURE,
    ANNOTATION_STATUS_CA,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_ROLE,
    LABEL_STAGE,
    ROLE_EXECUTOR,
)

# nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu, google.com/tpu, aws.amazon.com/neuron …
_ACCELERATOR = re.compile(r"/(gpu|mig-|tpu|neuron|gaudi|npu|xpu)")

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
    held: bool = False  # deleted without grace: nothing but a finalizer keeps it
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
    status_ca: str = ""  # the certificate that it reports progress to
    signature: str = ""  # ours, see `ownership`
    # What it asks for.
    gpus: float = 0.0
    cpus: float = 0.0
    memory: float = 0.0  # bytes

    @property
    def words(self) -> str:
        """Its name, and the node that it is on."""
        return f"{self.name} on node {self.node}" if self.node else self.name

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
            held=meta.get("deletionGracePeriodSeconds") == 0,
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
            # The same text in all pods, and so held once.
            status_ca=sys.intern((meta.get("annotations") or {}).get(ANNOTATION_STATUS_CA, "")),
            signature=(meta.get("annotations") or {}).get(ANNOTATION_SIGNATURE, ""),
            **_asked(pod.get("spec") or {}),
        )


def is_executor(pod: Mapping[str, Any]) -> bool:
    """Whether a v1 Pod was made by a Spark driver."""
    return bool(pod["metadata"].get("labels", {}).get(LABEL_ROLE) == ROLE_EXECUTOR)


def _asked(spec: Mapping[str, Any]) -> dict[str, float]:
    found = {"gpus": 0.0, "cpus": 0.0, "memory": 0.0}
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        # As Kubernetes has it: what is not requested is requested as it is limited.
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for name, quantity in asked.items():
            if name == "cpu":
                found["cpus"] += _number(quantity)
            elif name == "memory":
                found["memory"] += _number(quantity)
            elif _ACCELERATOR.search(name):
                found["gpus"] += _number(quantity)
    return found


def _number(quantity: str | int) -> float:
    try:
        return float(amount(quantity))
    except (ValueError, KeyError):
        # A webhook may use units that we do not; a pod is not to be overlooked for that.
        return 0.0


def _time(value: str | None) -> datetime | None:
    parsed = parse_time(value)
    return parsed if isinstance(parsed, datetime) else None
