"""What is wrong with a pod, as a message: one table from Kubernetes' terms to our reasons."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ..api.payload import Report, StageError, StageResult
from ..api.v1alpha1 import REASONS, FailureClass
from ..api.v1alpha1.reasons import ReasonName, reason_of, remedy_of_accepted
from . import remedies, terms, text
from .names import SCRATCH_VOLUME
from .observation import Blocker, PodEvent
from .pods import PodView

# Exit codes by which shells say that a command could not be run.
_EXIT_CODES: dict[int | None, ReasonName] = {126: "CommandNotFound", 127: "CommandNotFound"}

# What runtimes (runc, crun, gVisor) say of a container that could not be started, where its
# program was the cause, and not a mount, a device or a
# hook of the node's.
_NO_PROGRAM = re.compile(
    r'exec:? ("[^"]*"|\S+): (stat \S+ )?'
    r"(executable file not found|no such file|permission denied|exec format error)"
    r"|executable file [\"'`]?\S+ not found|finding executable|open executable"
    r"|is not executable|exec user process",
    re.IGNORECASE,
)

# All that the log of a container has whose program the kernel could not read.
_NOT_FOR_THIS = re.compile(r'exec \S+: exec format error|.*exec user process.*format error"?')
_TOO_LONG = "argument list too long"

# An eviction for its node's need, and not for the pod's own limits, has the condition
# DisruptionTarget, and always these words: pkg/kubelet/eviction/helpers.go.
_NODES_NEED = ("The node was low on resource", "The node had condition")

# What the API server says when it refuses a child -> our reason; the first that fits. The texts
# are those of Kubernetes' admission plugins and of its RBAC authorizer.
_REFUSALS: dict[str, ReasonName] = {
    "exceeded quota": "QuotaExceeded",
    "error looking up service account": "ServiceAccountMissing",
    "violates PodSecurity": "PodRefused",
    " cannot create resource ": "OperatorForbidden",
    " cannot delete resource ": "OperatorForbidden",
    " cannot patch resource ": "OperatorForbidden",
    " cannot get resource ": "OperatorForbidden",
}

# A quota on what the pod does not state: no waiting helps.
_UNSTATED = re.compile(r"must specify ((?:limits|requests)\.[^\s;]+)")

# A program does not send these to itself: who shuts a node down, or keeps its memory free, does.
_FROM_OUTSIDE = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM")
# A claim that is gone, goes, or has lost its volume.
_NO_CLAIM = re.compile(
    r"persistentvolumeclaim .*(not found|is being deleted|bound to non-existent)"
)
_UNKNOWN = "failed, and its node does not say why"
_REPORTED_CHARS = 1500
_LOG_TAIL_CHARS = 2000


@dataclass(frozen=True)
class Failure:
    """A failure of one pod, under a reason of the table REASONS."""

    reason: ReasonName
    message: str
    pod: PodView | None = None
    rank: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    time: datetime | None = None
    # Only where the pod did not say itself what went wrong: then the log must show it.
    log_tail: str = ""

    @property
    def failure_class(self) -> FailureClass:
        """Decides about retries."""
        return REASONS[self.reason].failure_class

    @property
    def secondary(self) -> bool:
        """A pod that failed because another one did: not the cause."""
        return self.reason == "PeerLost"

    def with_remedy(self, *, of_accepted: bool = False) -> str:
        """What happened, and what to do; ``of_accepted``: where a model was accepted before."""
        remedy = remedy_of_accepted(self.reason)
        if of_accepted and remedy != REASONS[self.reason].remedy:
            return _ended_by(self.message, remedy)
        return with_remedy(self.reason, self.message)


def with_remedy(reason: ReasonName, message: str) -> str:
    """The message, then what to do in this case."""
    return _ended_by(message, remedies.of(reason, message))


def _ended_by(message: str, remedy: str) -> str:
    return f"{message.rstrip('.')}; {remedy}"


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
    error = (_report(pod) or Report()).error
    reason = reason_of(error.reason) if error is not None else None
    if error is not None and reason is not None and not _only_obeyed(pod, error):
        return Failure(
            reason,
            _with_said(pod, text.line(error.message, _REPORTED_CHARS)),
            pod,
            rank=error.rank,
            exit_code=error.exit_code if error.exit_code is not None else pod.exit_code,
            signal=error.signal if error.signal is not None else pod.signal,
            time=pod.finished,
        )
    return _failure(pod, *_cause(pod))


def _only_obeyed(pod: PodView, error: StageError) -> bool:
    """It was told to end, and says no more than that: its node knows why."""
    return error.reason == "Disrupted" and bool(pod.pod_reason)


def _log_tail(pod: PodView) -> str:
    """The end of the log, which the kubelet gives for the message of a container that failed and
    left none; a container that never started has no log."""
    ended = terms.ENDED.get(pod.terminated_reason)
    not_started = ended is not None and ended.reason == "StartFailed"
    if not_started or _report(pod) is not None:
        return ""
    return text.lines(pod.message)[-_LOG_TAIL_CHARS:]


def _cause(pod: PodView) -> tuple[ReasonName, str]:
    """The reason, and what happened to the pod: by what is known best."""
    term, ended = terms.of_pod(pod.pod_reason), terms.ENDED.get(pod.terminated_reason)
    if ended is not None and ended.reason == "OutOfMemory":
        return ended.reason, ended.what
    own_limit = pod.pod_message and not pod.never_began
    own_limit = own_limit and not pod.pod_message.startswith(_NODES_NEED)
    if pod.pod_reason == "Evicted" and own_limit:
        which = f" (/tmp: {pod.stage}.template.scratch.size)"
        where = which if f'"{SCRATCH_VOLUME}"' in pod.pod_message else ""
        return "StorageLimitExceeded", f"was evicted: {pod.pod_message.rstrip(' .')}{where}"
    if term is not None and term.reason is not None:
        return term.reason, term.what
    if _said(pod) and pod.never_began:
        return "NodeRefused", "was not taken by its node"
    if pod.init_failure and pod.exit_code is None:
        return "InitContainerFailed", f"did not start: {pod.init_failure}"
    if ended is not None and ended.reason == "StartFailed":
        program = _NO_PROGRAM.search(pod.message) or pod.exit_code in _EXIT_CODES
        why = text.line(pod.message, _REPORTED_CHARS) or pod.terminated_reason
        cause: ReasonName = "CommandNotFound" if program else ended.reason
        return "ContainerConfigError" if _TOO_LONG in why else cause, f"{ended.what}: {why}"
    if ended is not None and ended.reason is not None:
        return ended.reason, ended.what
    if pod.exit_code in _EXIT_CODES:
        return _EXIT_CODES[pod.exit_code], "found no such command"
    if found := _NOT_FOR_THIS.fullmatch(pod.message.strip()):
        return "CommandNotFound", f"could not be started: {text.line(found[0], _REPORTED_CHARS)}"
    died = _signal_name(pod)
    if pod.deleting and (pod.exit_code == 0 or died in _FROM_OUTSIDE):
        return "PodLost", "was deleted"
    if pod.exit_code is None or pod.exit_code == 0:
        # It failed by no fault of its container.
        return "PodLost", "failed" if _said(pod) else _UNKNOWN
    if died in _FROM_OUTSIDE:
        return "ProcessKilled", f"was killed ({died})"
    if died:
        return "ScriptFailed", f"died of signal {died}"
    return "ScriptFailed", f"exited with code {pod.exit_code}"


def _signal_name(pod: PodView) -> str:
    """What our container died of; "" where it did not."""
    if not pod.signal:
        return ""
    known = pod.signal in {*signal.Signals}
    return signal.Signals(pod.signal).name if known else str(pod.signal)


def _said(pod: PodView) -> str:
    """What its kubelet says of the pod as a whole."""
    return ": ".join(part for part in (pod.pod_reason, pod.pod_message) if part)


def _with_said(pod: PodView, what: str) -> str:
    """What happened to the pod, and its kubelet's words, which are never dropped."""
    said = _said(pod)
    known = pod.pod_message.rstrip(" .") or pod.pod_reason
    return what if not said or known in what else f"{what} ({said})"


def interruption_of(pod: PodView) -> Failure:
    """A pod that had to make way: evicted, preempted, drained."""
    return _failure(pod, "Disrupted", f"was interrupted ({pod.disrupted})")


def _failure(pod: PodView, reason: ReasonName, what: str) -> Failure:
    """``what``: what happened to the pod."""
    return Failure(
        reason,
        f"pod {pod.name} {_with_said(pod, what)}",
        pod,
        exit_code=pod.exit_code,
        signal=pod.signal,
        time=pod.finished,
        log_tail=_log_tail(pod),
    )


def waiting_of(pod: PodView) -> Failure | None:
    """Why a pod does not start; None when it runs, is over, or starts as it should."""
    if pod.phase != "Pending":
        return None
    for wait in pod.waits:
        if (reason := terms.of_wait(wait.reason, wait.message)) is not None:
            whose = f"pod {pod.name}" + (f": {wait.who}" if wait.who else "")
            message = f"{whose} waits: {wait.message or wait.reason}"
            return Failure(reason, message, pod)
    if pod.gates:
        what = f"pod {pod.name} waits for the scheduling gate {pod.gates}"
        return Failure("SchedulingGated", what, pod)
    if _NO_CLAIM.search(pod.unschedulable):
        return Failure("ClaimMissing", f"pod {pod.name} waits: {pod.unschedulable}", pod)
    if "unbound immediate PersistentVolumeClaims" in pod.unschedulable:
        why = "is there its StorageClass, and can it make such volumes? See the events of the claim"
        words = f"pod {pod.name} waits for a volume ({pod.unschedulable}): {why}"
        return Failure("Unschedulable", words, pod)
    if pod.unschedulable:
        term = terms.SCHEDULING.get(pod.scheduling)
        what = term.what if term is not None else f"is not scheduled ({pod.scheduling})"
        return Failure("Unschedulable", f"pod {pod.name} {what}: {pod.unschedulable}", pod)
    return None


def explained(pod: PodView, told: PodEvent | None) -> Failure | None:
    """Why a pod does not start, of which its status says nothing, by an Event about it."""
    if told is None or pod.phase != "Pending":
        return None
    reason = terms.of_event(told.reason, told.message)
    message = f"pod {pod.described} waits: {told.reason}: {told.message}"
    return Failure(reason, message, pod) if reason is not None else None


def slowest(pods: Iterable[PodView], told: Mapping[str, PodEvent] | None = None) -> str:
    """What is known of pods that have not started, and nothing is known to be wrong with."""
    found = next((pod for pod in pods if pod.phase == "Pending" and (pod.waits or pod.node)), None)
    if found is None:
        return "the pods did not start"
    event = (told or {}).get(found.uid)
    if event is not None:
        what = f"{event.reason}: {event.message}"
        return f"the pods did not start; pod {found.described} waits: {what}"
    if not found.waits:
        return (
            f"the pods did not start; pod {found.described}: its containers are not there yet: "
            f"often a volume that cannot be attached; `kubectl describe pod {found.name}` says why"
        )
    wait = found.waits[0]
    who = wait.who or "its container"
    return f"the pods did not start; pod {found.name}: {who}: {wait.message or wait.reason}"


def refusal_of(name: str, message: str) -> Blocker:
    """Why the API server did not let the child ``name`` pass."""
    what = f"{name} was refused: {text.line(message)}"
    if found := _UNSTATED.search(message):
        what += f"; a quota counts {found[1]}, so the stage has to state it in its resources"
    return Blocker(name, _refused(message), what)


def not_deleted(name: str, message: str, *, answered: bool) -> Blocker:
    """Why the pod ``name`` is still there; ``answered``: the API server said so."""
    reason = _refused(message) if answered else "ApiUnavailable"
    return Blocker(name, reason, f"{name} could not be deleted: {text.line(message)}")


def altered(name: str, changes: Sequence[str]) -> Blocker:
    """How the pod ``name`` was altered as it was made, so that it was of no use."""
    what = ", ".join(changes)
    message = f"an admission policy or webhook alters pod {name}: {what}; it was deleted"
    return Blocker(name, "PodAltered", message)


def conflict_of(name: str, kind: str, whose: str) -> Blocker:
    """What stands where the child ``name`` should be; ``whose``: as in "belongs to Job x"."""
    article = "an" if kind[0] in "AEIOU" else "a"
    message = f"there is {article} {kind} {name} that {whose}; it is left as it is"
    return Blocker(name, "NameConflict", message)


def not_applied(kind: str, name: str, message: str) -> Blocker:
    """Why the child ``name`` that is there could not be brought up to date."""
    if "conflict with" not in message:  # it has changed since it was read, and is read again
        return no_answer(name, message)
    what = f"{kind} {name} was changed by somebody else: {text.line(message)}"
    return Blocker(name, "NameConflict", what)


def not_there(kind: str, name: str, message: str) -> Blocker:
    """Why the child ``name`` of a kind that the API server may not have could not be made."""
    if 'namespaces "' in message:  # it is the namespace that is gone
        return no_answer(name, message)
    what = f"{kind} {name} could not be made: {text.line(message)}"
    return Blocker(name, "KServeMissing", what)


def no_answer(name: str, message: str) -> Blocker:
    """The API server did not say whether the child ``name`` was made."""
    return Blocker(name, "ApiUnavailable", f"{name} could not be created: {text.line(message)}")


def _refused(message: str) -> ReasonName:
    return next((r for sign, r in _REFUSALS.items() if sign in message), "PodRefused")


def _report(pod: PodView) -> Report | None:
    """The pod's report; None when its message is something else."""
    try:
        # Not json.loads' default: NaN and Infinity are no JSON.
        value = json.loads(pod.message, parse_constant=_refuse)
        return Report.model_validate_json(json.dumps(_escaped(value)))
    except (ValueError, ValidationError, RecursionError):
        return None


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return text.escaped(value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {text.escaped(key): _escaped(item) for key, item in value.items()}
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
