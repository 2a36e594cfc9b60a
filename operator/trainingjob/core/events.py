"""Core v1 Events: what is announced beside the status, once for each transition."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from ..api.v1alpha1 import API_VERSION, KIND, REASONS, Status, TrainingJob
from ..api.v1alpha1.status import format_time
from .names import FIELD_MANAGER
from .pods import PodView
from .policy import rerun

# The API server's limit for a note.
_MESSAGE_CHARS = 1024


def events(job: TrainingJob, before: Status, after: Status, now: datetime) -> list[dict[str, Any]]:
    """The Events of the step from one status to the next.

    Every failure, suspension, a rerun, what keeps a stage from starting, and what one warns of.
    What goes as it should has none, be it a stage or the job: status tells it, and nobody acts on
    an Event of it. A step announced twice gives the same names, so that the second one exists
    already.
    """
    found: list[tuple[str, str, str, str]] = []
    attempts = "/".join(str(stage.attempt) for stage in after.stages)
    if after.rerun is not None and after.rerun != before.rerun:
        found += _rerun(job, before, after.rerun, attempts)
    failure = after.last_failure
    if failure is not None and failure != before.last_failure and after.phase != "Failed":
        what = f"{failure.stage}/{failure.attempt}/{failure.reason}"
        found.append((what, "Warning", failure.reason, failure.message))
    elif after.reason in REASONS and after.phase != "Failed" and after.reason != before.reason:
        found.append((f"{attempts}/{after.reason}", "Warning", after.reason, after.message))
    warned = {stage.name: stage.outputs for stage in before.stages}
    for stage in after.stages:
        outputs = stage.outputs
        if outputs is None or not outputs.warnings or outputs == warned.get(stage.name):
            continue
        message = f"{stage.name}: {'; '.join(warning.message for warning in outputs.warnings)}"
        what = f"StageWarnings/{stage.name}/{stage.attempt}"
        found.append((what, "Warning", "StageWarnings", message))
    if after.phase in ("Suspended", "Deleting") and after.phase != before.phase:
        what = f"{after.phase}/{after.observed_generation}"
        found.append((what, "Normal", after.reason, after.message))
    cleanup = after.cleanup
    if cleanup is not None and cleanup.phase == "Failed" and cleanup != before.cleanup:
        what = f"CleanupFailed/{cleanup.stage}/{cleanup.attempt}"
        found.append((what, "Warning", "CleanupFailed", cleanup.message))
    if after.phase == "Failed" != before.phase:
        what = "Failed" if after.rerun is None else f"Failed/{attempts}"
        found.append((what, "Warning", after.reason, after.message))
    return [_event(job, what, kind, reason, message, now) for what, kind, reason, message in found]


def forced(job: TrainingJob, pod: PodView, now: datetime) -> dict[str, Any]:
    """The Event of a pod that was deleted by force: one for each pod."""
    message = (
        f"pod {pod.described} was deleted by force, as policy.forceDeleteAfterSeconds says; where "
        "its node is only cut off it may still run"
    )
    return _event(job, f"PodForced/{pod.uid}", "Warning", "PodForced", message, now)


def _rerun(
    job: TrainingJob, before: Status, value: str, attempts: str
) -> list[tuple[str, str, str, str]]:
    stage = rerun.stage_of(job, value)
    if stage is None:
        return [(f"RerunInvalid/{value}", "Warning", "RerunInvalid", rerun.fault(job, value))]
    if not before.observed_generation:
        return []  # nothing had run yet
    return [(f"Rerun/{value}/{attempts}", "Normal", "Rerun", f"the job runs again from {stage}")]


def _event(
    job: TrainingJob, what: str, kind: str, reason: str, message: str, now: datetime
) -> dict[str, Any]:
    meta = job.metadata
    digest = hashlib.sha256(f"{meta.uid}/{what}".encode()).hexdigest()[:16]
    time = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta.name}.{digest}", "namespace": meta.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:_MESSAGE_CHARS],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
