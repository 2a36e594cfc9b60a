"""What is wrong with a pod, in words: one table from Kubernetes' terms to our reasons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from ..api.payload import Report, StageResult
from ..api.v1alpha1 import REASONS, FailureClass
from .observation import Obstacle
from .pods import PodView

# Exit codes by which shells say that a command could not be run.
_EXIT_CODES = {126: "CommandNotFound", 127: "CommandNotFound"}

# Why a container waits -> our reason. Others (ContainerCreating, PodInitializing) are normal.
_WAITING = {
    "ErrImagePull": "ImagePullFailed",
    "ImagePullBackOff": "ImagePullFailed",
    "InvalidImageName": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
    "RegistryUnavailable": "ImagePullFailed",
    "CreateContainerConfigError": "ContainerConfigError",
    "CreateContainerError": "ContainerConfigError",
    "RunContainerError": "ContainerConfigError",
}

# Why a pod as a whole has failed -> our reason.
_POD_REASONS = {
    "Evicted": "Disrupted",
    "Preempting": "Disrupted",
    "Shutdown": "Disrupted",
    "Terminated": "Disrupted",
    "NodeLost": "NodeLost",
    "NodeAffinity": "Unschedulable",
    "UnexpectedAdmissionError": "PodRefused",
}

# What the API server says when it refuses a child -> our reason; the first that fits. The words
# are those of Kubernetes' admission plugins and of its RBAC authorizer.
_REFUSALS = {
    "exceeded quota": "QuotaExceeded",
    "must specify limits": "QuotaExceeded",  # a quota on what the pod does not state
    "error looking up service account": "ServiceAccountMissing",
    "violates PodSecurity": "PodRefused",
    " cannot create resource ": "OperatorForbidden",
    " cannot delete resource ": "OperatorForbidden",
}

_SIGKILL = 9


@dataclass(frozen=True)
class Failure:
    """A failure of one pod, under a reason of the table REASONS."""

    reason: str
    message: str
    pod: PodView | None = None
    rank: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    time: datetime | None = None
    # Only where the pod did not say itself what went wrong: then the log must tell.
    log_tail: str = ""

    @property
    def failure_class(self) -> FailureClass:
        """Decides about retries."""
        return REASONS[self.reason].failure_class

    @property
    def secondary(self) -> bool:
        """A pod that failed because another one did: not the cause."""
        return self.reason == "PeerLost"

    def in_words(self) -> str:
        """What happened, and what to do."""
        return with_remedy(self.reason, self.message)


def with_remedy(reason: str, message: str) -> str:
    """The message, then the reason's remedy."""
    return f"{message.rstrip('.')}; {REASONS[reason].remedy}"


def result_of(pod: PodView) -> StageResult | None:
    """The result that a pod published; None when it published none that is usable.

    A complete result counts whatever the exit code: processes may die on their way out, when all
    is done.
    """
    report = _report(pod) if pod.over else None
    return report.result if report is not None else None


def failure_of(pod: PodView) -> Failure | None:
    """Why a pod has failed; None when it has not."""
    if pod.phase != "Failed":
        return None
    if pod.disrupted:
        return interruption_of(pod)
    report = _report(pod)
    if report is not None and report.error is not None and report.error.reason in REASONS:
        error = report.error
        return Failure(
            error.reason,
            error.message,
            pod,
            rank=error.rank,
            exit_code=error.exit_code if error.exit_code is not None else pod.exit_code,
            signal=error.signal if error.signal is not None else pod.signal,
            time=pod.finished,
        )
    if pod.terminated_reason == "OOMKilled":
        return _failure(pod, "OutOfMemory", f"pod {pod.name} used more memory than its limit")
    if pod.pod_reason in _POD_REASONS:
        reason = _POD_REASONS[pod.pod_reason]
        return _failure(pod, reason, f"pod {pod.name}: {pod.pod_reason}")
    if pod.exit_code in _EXIT_CODES:
        return _failure(pod, _EXIT_CODES[pod.exit_code], f"pod {pod.name} found no such command")
    if pod.signal == _SIGKILL or pod.exit_code is None:
        how = "was killed (SIGKILL)" if pod.signal == _SIGKILL else "failed without an exit code"
        return _failure(pod, "ProcessKilled", f"pod {pod.name} {how}")
    how = f"died of signal {pod.signal}" if pod.signal else f"exited with code {pod.exit_code}"
    return _failure(pod, "ScriptFailed", f"pod {pod.name} {how}")


def interruption_of(pod: PodView) -> Failure:
    """A pod that had to make way: evicted, preempted, drained."""
    return _failure(pod, "Disrupted", f"pod {pod.name} was interrupted ({pod.disrupted})")


def waiting_of(pod: PodView) -> Failure | None:
    """Why a pod does not start; None when it runs, is over, or starts as it should."""
    if pod.phase != "Pending":
        return None
    if pod.waiting_reason in _WAITING:
        detail = pod.waiting_message or pod.waiting_reason
        return Failure(_WAITING[pod.waiting_reason], f"pod {pod.name} waits: {detail}", pod)
    if "persistentvolumeclaim" in pod.unschedulable and "not found" in pod.unschedulable:
        return Failure("ClaimMissing", f"pod {pod.name} waits: {pod.unschedulable}", pod)
    if pod.unschedulable:
        return Failure("Unschedulable", f"pod {pod.name} finds no node: {pod.unschedulable}", pod)
    return None


def refusal_of(name: str, message: str) -> Obstacle:
    """Why the API server did not let the child ``name`` pass."""
    return Obstacle(name, _refused(message), f"{name} was refused: {message}")


def not_deleted(name: str, message: str, *, answered: bool) -> Obstacle:
    """Why the pod ``name`` is still there; ``answered``: the API server said so."""
    reason = _refused(message) if answered else "ApiUnavailable"
    return Obstacle(name, reason, f"{name} could not be deleted: {message}")


def altered(name: str, changes: Sequence[str]) -> Obstacle:
    """How the pod ``name`` was altered as it was made, so that it was of no use."""
    what = ", ".join(changes)
    message = f"an admission policy or webhook alters pod {name}: {what}; it was deleted"
    return Obstacle(name, "PodAltered", message)


def conflict_of(name: str, kind: str, whose: str) -> Obstacle:
    """What stands where the child ``name`` should be; ``whose`` in words."""
    message = f"there is a {kind} {name} that {whose}; it is left as it is"
    return Obstacle(name, "NameConflict", message)


def no_answer(name: str, message: str) -> Obstacle:
    """The API server did not say whether the child ``name`` was made."""
    return Obstacle(name, "ApiUnavailable", f"{name} could not be created: {message}")


def _refused(message: str) -> str:
    return next((r for words, r in _REFUSALS.items() if words in message), "PodRefused")


def _failure(pod: PodView, reason: str, message: str) -> Failure:
    return Failure(
        reason,
        message,
        pod,
        exit_code=pod.exit_code,
        signal=pod.signal,
        time=pod.finished,
        log_tail=pod.log_tail,
    )


def _report(pod: PodView) -> Report | None:
    """The pod's report; None when its message is something else."""
    try:
        # Not json.loads' default: NaN and Infinity are no JSON.
        value = json.loads(pod.message, parse_constant=_refuse)
        return Report.model_validate_json(json.dumps(value))
    except (ValueError, ValidationError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
