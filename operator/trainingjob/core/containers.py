"""Our container among those of a pod.

Others put containers of theirs beside it: a service mesh, an agent that brings secrets or takes
logs. The kubelet sorts the statuses by name, and the phase of a pod is about all of them; ours is
known by its name.
https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/kubelet_pods.go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import terms, text
from .names import (
    CODE_CONTAINER,
    EXECUTOR_CONTAINER,
    KSERVE_CONTAINER,
    LABEL_INFERENCE_SERVICE,
    LABEL_ROLE,
    LABEL_STAGE,
    ROLE_EXECUTOR,
)

# All that the kubelet keeps of the termination messages of one pod, in bytes; each of its
# containers has an equal share.
_MESSAGES = 12 * 1024
# Nothing is wrong with a container that waits for these.
_NORMAL = ("", *(reason for reason, term in terms.WAITING.items() if term.reason is None))


@dataclass(frozen=True)
class Wait:
    """A container that does not start. ``who``: for a message; "" is ours."""

    who: str
    reason: str
    message: str


def own_name(labels: Mapping[str, str]) -> str:
    """The name of our container, by the labels of its pod. Raises KeyError without ours."""
    if labels.get(LABEL_ROLE) == ROLE_EXECUTOR:
        return EXECUTOR_CONTAINER
    return KSERVE_CONTAINER if LABEL_INFERENCE_SERVICE in labels else labels[LABEL_STAGE]


def own(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The status of the container, or of the one that fetches its code where that has failed: it
    is ours as well, and tells why. Empty as long as their kubelet has none."""
    before = _status(pod, "initContainer", CODE_CONTAINER)
    if ((before.get("state") or {}).get("terminated") or {}).get("exitCode"):
        return before
    return _status(pod, "container", name)


def waits(pod: Mapping[str, Any], name: str) -> tuple[Wait, ...]:
    """What does not start, in the order in which the kubelet starts it: init containers, then
    ours, called ``name``, and those beside it. An init container that runs keeps the rest from it.
    """
    found = [_wait(f"init container {s['name']}", s) for s in _statuses(pod, "initContainer")]
    for status in sorted(_statuses(pod, "container"), key=lambda found: found["name"] != name):
        own = status["name"] == name
        found.append(_wait("" if own else f"container {status['name']}", status))
    return tuple(wait for wait in found if wait is not None)


def _wait(who: str, status: Mapping[str, Any]) -> Wait | None:
    state = status.get("state") or {}
    # A native sidecar has started once its startup probe says so.
    if who.startswith("init") and "running" in state and not status.get("started"):
        return Wait(who, "Running", "has not ended")
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    return None if reason in _NORMAL else Wait(who, reason, _why(status, waiting))


def init_failure(pod: Mapping[str, Any]) -> str:
    """What ended the pod before our container could start, as a message; "" for nothing."""
    for status in _statuses(pod, "initContainer"):
        end = (status.get("state") or {}).get("terminated") or {}
        if end.get("exitCode"):
            return f"init container {status['name']} {_ended(end)}"
    return ""


def share(pod: Mapping[str, Any]) -> int:
    """How many bytes of a termination message the kubelet keeps."""
    spec = pod.get("spec") or {}
    return _MESSAGES // max(1, sum(len(spec.get(kind) or ()) for kind in _KINDS.values()))


_KINDS = {
    "container": "containers",
    "initContainer": "initContainers",
    "ephemeralContainer": "ephemeralContainers",
}


def _statuses(pod: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    """In the order of the spec, whatever order they come in."""
    found = (pod.get("status") or {}).get(f"{kind}Statuses") or ()
    if len(found) < 2:
        return found
    spec = (pod.get("spec") or {}).get(_KINDS[kind]) or ()
    order = {container["name"]: place for place, container in enumerate(spec)}
    return sorted(found, key=lambda status: (order.get(status["name"], len(order)), status["name"]))


def _status(pod: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get(f"{kind}Statuses") or ()
    return next((found for found in statuses if found.get("name") == name), {})


def _why(status: Mapping[str, Any], waiting: Mapping[str, Any]) -> str:
    """A container that is started again and again waits for the next time: what ended it?"""
    end = (status.get("lastState") or {}).get("terminated") or {}
    return "; ".join(_parts(waiting.get("message", ""), _ended(end) if end else ""))


def _ended(end: Mapping[str, Any]) -> str:
    message = f"exited with code {end.get('exitCode')}"
    if end.get("reason") not in (None, "", "Error", "Completed"):
        message += f" ({end['reason']})"
    return ": ".join(_parts(message, end.get("message", "")))


def _parts(*parts: str) -> Iterator[str]:
    return (text.line(part, 500) for part in parts if part.strip())
