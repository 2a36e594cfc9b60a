"""Jobs that need nothing: over, suspended, or another controller's.

What has to be known of them is a few words, so that thousands of them, and large ones, cost next
to nothing. It is read from the object as the API server has it, whose spec may be of any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from ..api.stages import STAGE_NAMES
from ..api.v1alpha1 import Policy, Status
from ..api.v1alpha1.job import OPERATOR
from .names import ANNOTATION_RERUN
from .pods import PodView
from .policy import rerun, retention


@dataclass(frozen=True, slots=True)
class Rest:
    """``pods``: which of its pods change nothing. ``until``: when the job itself is to go."""

    pods: Literal["any", "ended", "none"]
    until: datetime | None = None

    def over(self, now: datetime) -> bool:
        """Whether the job is to be deleted."""
        return self.until is not None and now >= self.until

    def lasts(self, pods: Iterable[PodView]) -> bool:
        """Whether there is nothing to do until then, and nothing new to report."""
        match self.pods:
            case "any":
                return True
            case "ended":
                return all(pod.at_rest and not pod.deleting for pod in pods)
            case "none":
                return not [*pods]

    def seconds(self, now: datetime) -> float | None:
        """Until it is to go; None when it stays, or is to go now."""
        left = None if self.until is None else (self.until - now).total_seconds()
        return left if left is None or left > 0 else None


# The same for most of them.
_OTHERS, _ENDED, _NONE = Rest("any"), Rest("ended"), Rest("none")


def at_rest(job: Mapping[str, Any]) -> Rest | None:
    """None when the job has to be looked at. Raises nothing for whatever an API server can hold of
    our kind."""
    meta, spec, stored = job["metadata"], job.get("spec") or {}, job.get("status") or {}
    if spec.get("managedBy") not in (None, OPERATOR):
        return _OTHERS
    if stored.get("observedGeneration") != meta.get("generation", 1):
        return None
    deleting = "deletionTimestamp" in meta
    asked = (meta.get("annotations") or {}).get(ANNOTATION_RERUN)
    if not deleting and rerun.new(asked, stored.get("rerun")):
        return None
    phase = stored.get("phase")
    if deleting and phase == "Deleting":
        return _ENDED if _condition(stored, "Reconciling") != "True" else None
    if phase == "Suspended":
        settled = _condition(stored, "Reconciling") != "True"
        return _NONE if spec.get("suspend") is True and settled else None
    if phase not in ("Succeeded", "Failed") or not _ended(spec, stored):
        return None
    if (stored.get("cleanup") or {}).get("phase") == "Running":
        return None
    try:
        policy = Policy.model_validate(spec.get("policy") or {}, by_alias=True, by_name=False)
        ended = {"phase": phase, "completionTime": stored.get("completionTime")}
        status = Status.model_validate(ended, by_alias=True, by_name=False)
    except ValidationError:
        return None
    until = None if deleting else retention.kept_until(policy, status)
    if until is None:
        return _ENDED if retention.keeps_pods(policy, status) else _NONE
    return Rest("ended" if retention.keeps_pods(policy, status) else "none", until)


def _ended(spec: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """As `stages.ended` has it."""
    found = [one for one in stored.get("stages") or () if one.get("completionTime")]
    over = {one.get("name"): one.get("phase") for one in found}
    if stored.get("completionTime") != max((one["completionTime"] for one in found), default=None):
        return False
    if stored["phase"] == "Failed":
        return "Failed" in over.values()
    return all(over.get(name) == "Succeeded" for name in STAGE_NAMES if spec.get(name) is not None)


def _condition(status: Mapping[str, Any], kind: str) -> str | None:
    found = (c.get("status") for c in status.get("conditions") or () if c.get("type") == kind)
    return next(found, None)
