"""A pod as the core sees it: the few facts that decide."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ..api.v1alpha1.resources import amount
from ..api.v1alpha1.status import parse_time
from . import containers, terms, text
from .containers import Wait
from .names import (
    ANNOTATION_SIGNATURE,
    ANNOTATION_STATUS_CA,
    ANNOTATION_TEMPLATE,
    GANG_SIZE,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_ROLE,
    LABEL_STAGE,
    ROLE_CLEANER,
    ROLE_EXECUTOR,
)

# nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu, google.com/tpu, aws.amazon.com/neuron …
_ACCELERATOR = re.compile(r"/(gpu|mig-|tpu|neuron|gaudi|npu|xpu)")

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
_OVER = ("Succeeded", "Failed")
# Linux has no signals beyond: 255 is what `exit -1` comes to.
_LAST_SIGNAL = 64
# No pod ran in this year or before.
_NEVER = 1970


@dataclass(frozen=True)
class PodView:
    """Facts of one pod. Times are aware; ``started`` and ``finished`` are of its node's clock, to
    be shown and not to be compared with ours. ``message`` is the termination message; ``index``
    is -1 for a Spark executor.

    The pod is what its stage's own container is: ``phase``, times, exit code, reasons and message
    are that one's, whatever stands beside it.
    """

    name: str
    uid: str
    stage: str
    attempt: int
    index: int
    phase: PodPhase
    ready: bool = False  # as the kubelet says, of all its containers
    lingers: bool = False  # ours has ended, others of the pod have not
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    ran: float | None = None  # seconds from the one to the other, by the same clock
    deleting: bool = False
    delete_by: datetime | None = None  # when its grace period is over
    held: bool = False  # deleted without grace: nothing but a finalizer keeps it
    finalizers: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    terminated_reason: str = ""
    message: str = ""
    cut: bool = False  # the kubelet has kept no more of the message than this
    waits: tuple[Wait, ...] = ()
    init_failure: str = ""
    unschedulable: str = ""
    scheduling: str = "Unschedulable"  # why, in the scheduler's word
    gates: str = ""  # for which it waits before a scheduler looks at it
    disrupted: str = ""
    # Why its kubelet has ended it as a whole, or has not let it begin.
    pod_reason: str = ""
    pod_message: str = ""
    status_ca: str = ""  # the certificate that it reports progress to
    signature: str = ""  # ours, see `ownership`
    image: str = ""  # of our container, as the pod was made
    cleans: bool = False  # it works not for its stage but removes what the policy does not keep
    of: int | None = None  # how many its gang has, as it was told; None: it was told nothing
    group: str = ""  # the PodGroup that it is scheduled with
    template: str = ""  # the digest of the template that it was made from; "" of older operators
    # What it asks for.
    gpus: float = 0.0
    cpus: float = 0.0
    memory: float = 0.0  # bytes

    @property
    def described(self) -> str:
        """Its name, and the node that it is on."""
        return f"{self.name} on node {self.node}" if self.node else self.name

    @property
    def over(self) -> bool:
        """Our container has ended, or will never run."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def decides(self) -> bool:
        """Whether what it shows may decide at once: it has failed, goes, or tells a result. All
        else the pods of a gang show moments apart."""
        tells = self.phase == "Succeeded" and self.index == 0
        return self.deleting or self.phase == "Failed" or tells

    @property
    def never_began(self) -> bool:
        """Our container has not run, as far as anybody knows."""
        return self.started is None and self.exit_code is None

    @property
    def at_rest(self) -> bool:
        """No container of it runs any more: the scheduler takes its resources for free."""
        return self.over and not self.lingers

    @property
    def remains(self) -> bool:
        """It was deleted and has ended, as its kubelet says: a finalizer keeps what is left of it,
        which writes nothing any more."""
        return self.deleting and self.held and self.at_rest and self.exit_code is not None

    @classmethod
    def from_dict(cls, pod: Mapping[str, Any]) -> PodView:
        """Read a v1 Pod. Raises KeyError or ValueError for a pod without our labels."""
        meta, status, spec = pod["metadata"], pod.get("status") or {}, pod.get("spec") or {}
        name = containers.own_name(meta["labels"])
        own = containers.own(pod, name)
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        scheduled = conditions.get("PodScheduled") or {}
        disruption = _disruption(conditions)
        whole = status.get("phase", "Pending")
        phase = _phase(pod, own, disruption)
        return cls(
            name=meta["name"],
            uid=meta.get("uid", ""),
            stage=meta["labels"][LABEL_STAGE],
            attempt=int(meta["labels"][LABEL_ATTEMPT]),
            index=-1 if is_executor(pod) else int(meta["labels"][LABEL_INDEX]),
            phase=phase,
            ready=(conditions.get("Ready") or {}).get("status") == "True",
            lingers=phase in _OVER and whole not in _OVER,
            created=_time(meta.get("creationTimestamp")),
            deleting="deletionTimestamp" in meta,
            delete_by=_time(meta.get("deletionTimestamp")),
            held=meta.get("deletionGracePeriodSeconds") == 0,
            finalizers=text.line(", ".join(meta.get("finalizers") or ()), 500),
            node=spec.get("nodeName", ""),
            **_life(own, _time(meta.get("creationTimestamp"))),
            cut=_is_cut(own, containers.share(pod)),
            cleans=meta["labels"].get(LABEL_ROLE) == ROLE_CLEANER,
            waits=containers.waits(pod, name),
            init_failure=containers.init_failure(pod),
            unschedulable=_unschedulable(scheduled),
            scheduling=text.line(scheduled.get("reason", ""), 128),
            gates=_gates(spec),
            group=(spec.get("schedulingGroup") or {}).get("podGroupName", ""),
            **_made(spec, name),
            disrupted=(
                text.line(disruption.get("message") or disruption.get("reason", "DisruptionTarget"))
                if disruption
                else ""
            ),
            pod_reason=text.line(status.get("reason", ""), 128),
            pod_message=text.line(status.get("message", "")),
            # The same text in all pods, and so held once.
            status_ca=sys.intern((meta.get("annotations") or {}).get(ANNOTATION_STATUS_CA, "")),
            template=sys.intern((meta.get("annotations") or {}).get(ANNOTATION_TEMPLATE, "")),
            signature=(meta.get("annotations") or {}).get(ANNOTATION_SIGNATURE, ""),
            **_asked(spec),
        )


def _made(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What our container was given."""
    every = spec.get("containers") or ()
    found: Mapping[str, Any] = next((c for c in every if c.get("name") == name), {})
    told = {v["name"]: v.get("value", "") for v in found.get("env") or ()}.get(GANG_SIZE, "")
    return {
        # The same text in all pods, and so held once.
        "image": sys.intern(str(found.get("image", ""))),
        "of": int(told) if told.isdecimal() else None,
    }


def _disruption(conditions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The condition by which somebody says that the pod has to make way; empty when nobody does."""
    ready = conditions.get("Ready") or {}
    found = (conditions.get(kind) or {} for kind in terms.DISRUPTED)
    told = next((one for one in found if one.get("status") == "True"), {})
    return ready if not told and ready.get("reason") == terms.UNREADY_EVICTED else told


def _unschedulable(scheduled: Mapping[str, Any]) -> str:
    """Why a scheduler, of whatever words, has no node for the pod; of gates, see ``_gates``."""
    reason = scheduled.get("reason", "")
    if scheduled.get("status") == "True" or reason in ("", "SchedulingGated"):
        return ""
    return text.line(scheduled.get("message") or reason)


def _gates(spec: Mapping[str, Any]) -> str:
    return text.line(", ".join(gate.get("name", "") for gate in spec.get("schedulingGates") or ()))


def _end(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """How our container ended; empty when it has not.

    It is never to be started again. Where it was, as by a kubelet that found no trace of it after
    its node's restart, the first end counts: the rest of a gang has lost it.
    """
    for moment in ("state", "lastState"):
        if found := (own.get(moment) or {}).get("terminated"):
            return dict(found)
    return {}


def _phase(
    pod: Mapping[str, Any], own: Mapping[str, Any], disruption: Mapping[str, Any]
) -> PodPhase:
    """The phase of our container."""
    whole: PodPhase = (pod.get("status") or {}).get("phase", "Pending")
    state, end = own.get("state") or {}, _end(own)
    if end:
        good = end.get("exitCode") == 0 and not _cut_short(pod, end, disruption)
        return "Succeeded" if good else "Failed"
    if whole in _OVER:
        return whole
    if "running" in state:
        return "Running"
    return "Pending" if "waiting" in state else whole


def _cut_short(
    pod: Mapping[str, Any], end: Mapping[str, Any], disruption: Mapping[str, Any]
) -> bool:
    """Whether our container ended only when it was asked to: many programs exit with 0 then."""
    meta, status = pod["metadata"], pod.get("status") or {}
    finished = _time(end.get("finishedAt"))
    asked: list[datetime | None] = []
    if disruption:
        asked.append(_time(disruption.get("lastTransitionTime")))
    elif status.get("phase") == "Failed" and status.get("reason"):
        asked.append(None)
    if (deleted := _time(meta.get("deletionTimestamp"))) is not None:
        grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
        asked.append(deleted - grace)
    return any(at is None or finished is None or finished >= at for at in asked)


def _life(own: Mapping[str, Any], created: datetime | None) -> dict[str, Any]:
    """When our container ran, and how it ended."""
    end = _end(own)
    running = (own.get("state") or {}).get("running") or {}
    exit_code, signal = end.get("exitCode"), end.get("signal")
    if not signal and exit_code is not None and 128 < exit_code <= 128 + _LAST_SIGNAL:
        # A shell and a container runtime alike report signal N as 128 + N.
        signal = exit_code - 128
    return {
        "started": _believed(end.get("startedAt") or running.get("startedAt"), created),
        "finished": _believed(end.get("finishedAt"), created),
        "ran": _between(_begun(end.get("startedAt")), _begun(end.get("finishedAt"))),
        "exit_code": exit_code,
        "signal": signal or None,
        "terminated_reason": end.get("reason", ""),
        "message": end.get("message", ""),
    }


def _believed(value: str | None, created: datetime | None) -> datetime | None:
    """A time of the node's clock, which may be slow: nothing was before the pod."""
    found = _begun(value)
    return max(found, created) if found and created else found


def _begun(value: str | None) -> datetime | None:
    """None for the first moment of Unix or Go, by which runtimes say that something never was."""
    found = _time(value)
    return None if found is None or found.year <= _NEVER else found


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def _is_cut(own: Mapping[str, Any], share: int) -> bool:
    # A character that was cut in the middle is replaced by a longer one.
    return len(_end(own).get("message", "").encode()) >= share - 3


def is_executor(pod: Mapping[str, Any]) -> bool:
    """Whether a v1 Pod was made by a Spark driver."""
    return bool(pod["metadata"].get("labels", {}).get(LABEL_ROLE) == ROLE_EXECUTOR)


def _asked(spec: Mapping[str, Any]) -> dict[str, Any]:
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
