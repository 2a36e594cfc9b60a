"""Removing what `policy.retain` does not keep, when the job is over.

A pod does it that comes after the verdict and changes nothing about it. It has the name of a
further attempt of the last stage that has begun: so it is known as the job's own like any other,
and a stage that is run again waits until it is gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.v1alpha1 import REASONS, Status, TrainingJob
from ...api.v1alpha1.status import Cleanup, Removable
from .. import diagnose, names, stages
from ..diagnose import Failure
from ..observation import Observation
from ..pods import PodView

# A pod that hangs ends at last, and the job may then be deleted.
_LIMIT = timedelta(hours=1)
# Before each further try.
_WAITS = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=45))
_NEVER_AGAIN = ("configuration", "data")


def after(obs: Observation, status: Status, now: datetime) -> tuple[Status, datetime | None]:
    """The status of a job that is over, with how its cleaning up goes, and when to look again."""
    found, wake = _judged(obs, status, now)
    return (status if found is None else status.model_copy(update={"cleanup": found})), wake


def runs(status: Status) -> bool:
    """Whether it has begun and is not over."""
    return status.cleanup is not None and not status.cleanup.over


def may_begin(obs: Observation) -> bool:
    """Whether none of the job's pods writes any more."""
    return runs(obs.job.status) and all(pod.over for pod in (*obs.pods, *obs.executors))


def pod_of(obs: Observation, cleanup: Cleanup | None) -> PodView | None:
    """The pod that is at work, or has ended and was not judged yet; None without one."""
    if cleanup is None or cleanup.over:
        return None
    return next((p for p in obs.pods_of(cleanup.stage) if p.attempt == cleanup.attempt), None)


def last_attempt(status: Status, stage: str) -> int:
    """The last attempt of a stage whose number a pod that cleans up may have; 0 without one."""
    cleanup = status.cleanup
    return cleanup.attempt if cleanup is not None and cleanup.stage == stage else 0


def gone(job: TrainingJob, stage: str) -> bool:
    """Whether what a stage has left may have been removed."""
    cleanup = job.status.cleanup
    left = next((one.outputs for one in job.status.stages if one.name == stage), None)
    removed = cleanup is not None and "datasets" in (cleanup.removed or ())
    return removed and left is not None and left.uri == names.dataset_uri(job)


def _judged(
    obs: Observation, status: Status, now: datetime
) -> tuple[Cleanup | None, datetime | None]:
    before = status.cleanup
    if before is None or _asked_anew(obs, before, status):
        return _begun(obs, status, now), None
    if before.over:
        return before, None
    pod = pod_of(obs, before)
    if pod is not None:
        before = before.model_copy(update={"removed": _together(before.removed, before.kinds)})
        if pod.over:
            return _ended(obs, before, pod, now), None
    kinds = [kind for kind in before.kinds if kind in _wanted(obs.job, status)]
    if pod is None and kinds != before.kinds:  # the policy keeps it by now
        phase = "Running" if kinds else "Succeeded"
        return before.model_copy(update={"kinds": kinds, "phase": phase, "message": ""}), None
    started = pod is not None and pod.started is not None
    patience = timedelta(seconds=obs.job.spec.policy.startup_deadline_seconds)
    # Each try has its own time, and what others take to end is not the pod's.
    since = before.next_time or before.start_time
    until = since + (_LIMIT if started or _writing(obs) else min(patience, _LIMIT))
    if now >= until:
        what = before.message or f"it has not ended in {(now - since).seconds} s"
        return _failed(obs, before, what), None
    return before.model_copy(update={"message": _waits(obs, before, pod)[:2048]}), until


def _waits(obs: Observation, before: Cleanup, pod: PodView | None) -> str:
    """What is in its way; "" for nothing."""
    if pod is not None:
        waits = diagnose.waiting_of(pod)
        return waits.with_remedy() if waits is not None else ""
    if (writing := _writing(obs)) is not None:
        return f"pod {writing.described} has not ended yet"
    name = names.pod_name(obs.job, before.stage, before.attempt, 0)
    blocked = next((one.message for one in obs.blockers if one.name == name), "")
    # Of the try before.
    return blocked or (before.message if before.next_time is not None else "")


def _writing(obs: Observation) -> PodView | None:
    """A pod of the job that has not ended."""
    every = (*obs.pods, *obs.executors)
    return next((one for one in every if not one.over and not one.cleans), None)


def _together(some: list[Removable] | None, more: list[Removable]) -> list[Removable]:
    return sorted({*(some or ()), *more})


def _asked_anew(obs: Observation, before: Cleanup, status: Status) -> bool:
    """Whether the policy was edited since, and asks for more than was done."""
    edited = obs.job.status.observed_generation != obs.job.metadata.generation
    less = before.phase == "Failed" or not {*_wanted(obs.job, status)} <= {*before.kinds}
    return before.over and edited and less


def _wanted(job: TrainingJob, status: Status) -> list[Removable]:
    retain = job.spec.policy.retain
    if retain is None:
        return []
    removed = ("never", "onFailure") if status.phase == "Succeeded" else ("never",)
    asked: dict[Removable, str | None] = {
        "checkpoints": retain.checkpoints,
        "datasets": retain.datasets,
    }
    return [kind for kind, when in asked.items() if when in removed]


def _begun(obs: Observation, status: Status, now: datetime) -> Cleanup | None:
    kinds = _wanted(obs.job, status)
    ran = [s for s in status.stages if s.start_time and stages.named(s.name).replicas(obs.job)]
    if not kinds or not ran:
        return status.cleanup
    last = ran[-1]
    pods = (pod.attempt for pod in obs.pods_of(last.name))
    attempt = max(last.attempt, last_attempt(status, last.name), *pods, 0) + 1
    before = status.cleanup
    return Cleanup(
        phase="Running",
        kinds=kinds,
        removed=before.removed if before is not None else None,
        stage=last.name,
        attempt=attempt,
        start_time=now,
    )


def _ended(obs: Observation, before: Cleanup, pod: PodView, now: datetime) -> Cleanup:
    result = diagnose.result_of(pod)
    if result is not None and result.outputs.uri == names.artefact_uri(obs.job):
        left = "; ".join(warning.message for warning in result.outputs.warnings or ())
        return before.model_copy(
            update={"phase": "Succeeded", "message": left[:2048], "next_time": None}
        )
    failure = diagnose.failure_of(pod) or Failure("ResultInvalid", f"pod {pod.name} tells nothing")
    kind = REASONS[failure.reason].failure_class
    failures = before.failures + (kind != "disruption")
    if kind in _NEVER_AGAIN or failures > len(_WAITS):
        return _failed(obs, before, failure.with_remedy(), failures)
    wait = _WAITS[failures - 1] if kind != "disruption" else timedelta()
    return before.model_copy(
        update={
            "attempt": before.attempt + 1,
            "failures": failures,
            "next_time": now + wait,
            "message": failure.message[:2048],
        }
    )


def _failed(obs: Observation, before: Cleanup, what: str, failures: int | None = None) -> Cleanup:
    place = names.artefact_uri(obs.job)
    again = f"remove what is left in {place}, or edit policy.retain to have it tried again"
    return before.model_copy(
        update={
            "phase": "Failed",
            "message": f"{what[: 2000 - len(again)].rstrip('.')}; {again}",
            "failures": before.failures if failures is None else failures,
            "next_time": None,
        }
    )
