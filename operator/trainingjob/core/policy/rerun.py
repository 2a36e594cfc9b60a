"""Running a job again from one of its stages, as its annotation asks.

The annotation holds an absolute value, and status the one that was dealt with last: a request is
acted on once, whatever crashes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ...api.v1alpha1 import StageName, StageStatus, Status, TrainingJob
from ...api.v1alpha1.status import Attempt
from .. import accepted, history, stages, usage
from ..names import ANNOTATION_RERUN
from ..observation import Observation
from . import cleanup

_VALUE = re.compile(r"([a-z]+):([1-9][0-9]{0,3})")
_LAST_NUMBER = 9999
# In place of a stage: to serve the model before again.
ROLLBACK = "rollback"
# As the CRD has it; a value that is longer is none of ours anyway.
_CHARS = 64


def stage_of(job: TrainingJob, value: str | None) -> StageName | None:
    """The stage that a value of the annotation names; None when the value is no request."""
    match = _VALUE.fullmatch(value or "")
    if match and match[1] == ROLLBACK:
        return _serving(job) if _no_way_back(job) is None else None
    return next((name for name in stages.names_of(job) if match and name == match[1]), None)


def requested(job: TrainingJob) -> StageName | None:
    """The stage to run again from; None when nobody asks, or status has it already."""
    return stage_of(job, unseen(job)) if job.status.observed_generation else None


def unseen(job: TrainingJob) -> str | None:
    """The annotation's value, be it a request or not; None when status has it, or there is none."""
    return new(job.metadata.annotations.get(ANNOTATION_RERUN), job.status.rerun)


def new(value: str | None, known: str | None) -> str | None:
    """The annotation's ``value``, if it is one and status does not have it, which has ``known``."""
    value = (value or "")[:_CHARS]
    return value if value and value != known else None


def returning(status: Status) -> StageStatus | None:
    """The stage that alone has its turn, since it was asked to go back, until it has done so."""
    return next((s for s in status.stages if s.rollback and s.phase != "Succeeded"), None)


def ignored(job: TrainingJob) -> TrainingJob:
    """The job as if nobody asked."""
    if ANNOTATION_RERUN not in job.metadata.annotations:
        return job
    kept = {k: v for k, v in job.metadata.annotations.items() if k != ANNOTATION_RERUN}
    meta = job.metadata.model_copy(update={"annotations": kept})
    return job.model_copy(update={"metadata": meta})


def fault(job: TrainingJob, value: str) -> str:
    """What is wrong with a value that is no request."""
    known = stages.names_of(job)
    if value.startswith(f"{ROLLBACK}:"):
        why = _no_way_back(job) or "it has no number"
        return f"annotation {ANNOTATION_RERUN}: {value!r}: {why}; it has no effect"
    return (
        f"annotation {ANNOTATION_RERUN}: {value!r} is not a stage of the job ({', '.join(known)}) "
        f"and a number from 1 to {_LAST_NUMBER}, as in {known[0]}:1; it has no effect"
    )


def following(job: TrainingJob, stage: StageName) -> str:
    """A value that the annotation does not have yet."""
    known = (job.metadata.annotations.get(ANNOTATION_RERUN), job.status.rerun)
    numbers = [int(match[2]) for value in known if (match := _VALUE.fullmatch(value or ""))]
    return f"{stage}:{max(numbers, default=0) % _LAST_NUMBER + 1}"


def applied(obs: Observation, now: datetime) -> Observation:
    """The observation of a job that was reset as is asked for; as it is when nothing is."""
    job = obs.job
    value = unseen(job)
    if value is None:
        return obs
    stage = requested(job)
    update: dict[str, object] = {"rerun": value}
    if stage is not None:
        back = value.startswith(f"{ROLLBACK}:")
        update |= _back(obs, stage, now) if back else _reset(obs, stage, now)
    status = job.status.model_copy(update=update)
    return replace(obs, job=job.model_copy(update={"status": status}))


def _serving(job: TrainingJob) -> StageName | None:
    """The stage whose children outlive the job."""
    return next((room.name for room in stages.of(job) if room.standing), None)


def _no_way_back(job: TrainingJob) -> str | None:
    """Why the model before cannot be served again, in words; None when it can."""
    found, serving = job.status.deployment, _serving(job)
    if serving is None or found is None or found.previous is None:
        return "the job serves no model, or status does not know the one before"
    if job.status.over:
        return None
    done = {stage.name for stage in job.status.stages if stage.phase == "Succeeded" and stage.over}
    for name in stages.names_of(job):
        if name == serving:
            break
        if name not in done:
            return f"{serving} can go back only when {name} has succeeded, or the job is over"
    return None


def _back(obs: Observation, stage: StageName, now: datetime) -> dict[str, object]:
    """The stage alone has not begun, and is to go back: what the others have left it does not
    need."""
    prior = obs.job.status
    found: list[StageStatus] = []
    past: Sequence[Attempt] = prior.history
    for one in prior.stages:
        again = one
        if one.name == stage:
            again, past = _anew(obs, one, past, now)
            again = again.model_copy(update={"rollback": True})
        found.append(again)
    failure = prior.last_failure
    return {
        "phase": "Pending",
        "stages": found,
        "history": past,
        "rerun_time": now,
        "completion_time": None,
        "last_failure": None if failure and failure.stage == stage else failure,
    }


def _reset(obs: Observation, stage: StageName, now: datetime) -> dict[str, object]:
    """The stage and all after it have not begun; nor has one before it that failed, or whose result
    was removed when the job was over, without which it would never be its turn."""
    prior = obs.job.status
    before = {found.name: found for found in prior.stages}
    found: list[StageStatus] = []
    again: set[StageName] = set()
    past: Sequence[Attempt] = prior.history
    resumable = judged = False
    first = stages.named(stage)
    # What reads the accepted model alone wants no rows, unless the model is to be made anew.
    sparing = (first.standing or first.of_accepted) and not any(
        one.phase == "Failed" for one in prior.stages if one.name != stage
    )
    for room in stages.of(obs.job):
        one = before.get(room.name) or StageStatus(name=room.name)
        lacks = one.phase == "Failed" or (not sparing and cleanup.gone(obs.job, room.name))
        if again or room.name == stage or lacks:
            again.add(room.name)
            resumable |= room.resumable
            judged |= room.judges
            one, past = _anew(obs, one, past, now)
        found.append(one)
    failure, progress = prior.last_failure, prior.progress
    return {
        "phase": "Pending",
        "stages": found,
        "history": past,
        "rerun_time": now,
        "completion_time": None,
        "accepted": accepted.last(obs.job, prior.evaluation),
        "evaluation": None if judged else prior.evaluation,
        "last_failure": None if failure and failure.stage in again else failure,
        "checkpoint": None if resumable else prior.checkpoint,
        "progress": None if progress and progress.stage in again else progress,
    }


def _anew(
    obs: Observation, stage: StageStatus, past: Sequence[Attempt], now: datetime
) -> tuple[StageStatus, Sequence[Attempt]]:
    """The stage before its next attempt; an attempt that this interrupts is in the history."""
    cleaned = cleanup.last_attempt(obs.job.status, stage.name)
    attempt = max([stage.attempt, cleaned, *(pod.attempt for pod in obs.pods_of(stage.name))])
    every = (*obs.pods_of(stage.name), *obs.executors)
    pods = [pod for pod in every if (pod.stage, pod.attempt) == (stage.name, attempt)]
    if stage.phase == "Pending" and stage.start_time is None and not pods:
        return StageStatus(
            name=stage.name,
            attempt=attempt,
            first_attempt=stage.first_attempt,
            usage=stage.usage,
        ), past
    spent = stage.usage
    if pods and not stage.over:
        stopped = stage.model_copy(update={"reason": "Rerun"})
        past = history.after(past, stopped, attempt, None, pods, now)
        spent = usage.after(spent, pods, now, well=False)
    # Names of pods never come again, and checkpoints of the attempts before are not gone on from.
    following = attempt + 1
    return StageStatus(
        name=stage.name, attempt=following, first_attempt=following, usage=spent
    ), past
