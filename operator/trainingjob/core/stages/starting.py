"""An attempt whose pods do not all run yet: what blocks it, and for how long that may last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...api.v1alpha1 import StageStatus
from ...api.v1alpha1.status import format_time
from .. import conditions, diagnose, names
from ..diagnose import Failure
from ..pods import PodView
from ..policy import deadlines, stuck
from .ending import attempt_failed
from .gang import Gang, created
from .outcome import StageOutcome


@dataclass(frozen=True)
class _Start:
    """``blocker``: what keeps pods from starting, ``blocked_since`` then, and ``tolerated_until``
    then. ``deadline``: when all of them must run."""

    gang: Gang
    stage: StageStatus
    leaving: Sequence[PodView]
    blocker: Failure | None
    blocked_since: datetime | None
    tolerated_until: datetime | None
    deadline: datetime


def starting(gang: Gang) -> StageOutcome:
    """Too long is a failure; what does not pass by itself is one sooner."""
    start = _start(gang)
    return _too_late(start) or _blocked_too_long(start) or _waits(start)


def _too_late(start: _Start) -> StageOutcome | None:
    if start.gang.now < start.deadline:
        return None
    blocker = start.blocker
    why = blocker.message if blocker else diagnose.slowest(start.gang.pods)
    late = Failure("StartupDeadlineExceeded", why, blocker.pod if blocker else None)
    return attempt_failed(start.gang, late)


def _blocked_too_long(start: _Start) -> StageOutcome | None:
    if start.blocker is None or start.tolerated_until is None:
        return None
    if start.gang.now < start.tolerated_until:
        return None
    return attempt_failed(start.gang, start.blocker)


def _waits(start: _Start) -> StageOutcome:
    gang, blocker = start.gang, start.blocker
    update: dict[str, object] = {"waiting_since": start.blocked_since}
    if gang.complete:
        update |= {"phase": "Running", "reason": "Running", "message": ""}
    if blocker is not None:
        update |= {"reason": blocker.reason, "message": blocker.with_remedy()[:2048]}
    elif gang.complete or start.stage.reason != "Restarting":
        update |= {"reason": "Starting", "message": ""}
    from_now = (stuck.reported_from(pod) for pod in start.leaving)
    wakes = [at for at in from_now if at is not None and at > gang.now]
    until = min(start.deadline, start.tolerated_until or start.deadline)
    return StageOutcome(start.stage.model_copy(update=update), wake=min([until, *wakes]))


def _start(gang: Gang) -> _Start:
    policy, leaving, stage = gang.obs.job.spec.policy, gang.leaving, gang.stage
    was_stuck = stage.reason == "PodStuck"
    if was_stuck and not leaving:
        stage = stage.model_copy(update={"cleared_time": gang.now})
    blocker = _blocker(gang) or _stuck(gang, leaving, before=was_stuck)
    since = tolerated = None
    if blocker is not None:
        # Not `or now`: where the CRD is older than we are it drops the time, at every write.
        since = stage.waiting_since if stage.reason == blocker.reason else gang.now
        tolerated = deadlines.tolerated_until(blocker.reason, since)
    deadline = deadlines.started_until(policy, _attempt_since(gang, stage))
    put_off = stuck.tried_until(policy, leaving, stage.waiting_since if was_stuck else gang.now)
    deadline = max(deadline, put_off or deadline)
    return _Start(gang, stage, leaving, blocker, since, tolerated, deadline)


def _blocker(gang: Gang) -> Failure | None:
    """Why pods do not start: they could not be made, or they wait."""
    job, stage = gang.obs.job, gang.stage
    ours = {
        names.child_name(job, stage.name),
        names.claim_name(job),
        *(names.pod_name(job, stage.name, stage.attempt, index) for index in range(gang.wanted)),
        # Those of attempts before that could not be deleted.
        *(pod.name for pod in gang.obs.pods_of(stage.name)),
    }
    found = next((blocker for blocker in gang.obs.blockers if blocker.name in ours), None)
    if found is not None:
        return Failure(found.reason, found.message)
    waiting = (diagnose.waiting_of(pod) for pod in gang.pods)
    return next((failure for failure in waiting if failure is not None), None)


def _stuck(gang: Gang, leaving: Sequence[PodView], *, before: bool) -> Failure | None:
    """A pod of an earlier attempt that does not go, as on a node that is dead: until somebody
    knows that it is, the pod may yet write where the next one does. ``before``: one was stuck."""
    for pod in leaving:
        reported = stuck.reported_from(pod)
        forced = stuck.forced_from(gang.obs.job.spec.policy, pod)
        # With the grace period force cuts short the time by which the pod was to be gone, too.
        if reported is None or (gang.now < reported and not (before and pod.held)):
            continue
        message = f"pod {pod.described} was deleted and does not go"
        if pod.held:
            message += ": a finalizer keeps it"
        elif forced is not None:
            message += (
                f"; it is deleted by force at {format_time(forced)}, "
                "as policy.forceDeleteAfterSeconds says"
            )
        return Failure("PodStuck", message, pod)
    return None


def _attempt_since(gang: Gang, stage: StageStatus) -> datetime:
    """When the present attempt began."""
    if made := created(gang.pods):
        return min(made)
    since, status = gang.since, gang.obs.job.status
    failed = status.last_failure
    if stage.attempt > 1 and failed is not None and failed.stage == stage.name:
        since = failed.time
    # Before that none of its pods could be made.
    since = max(since, stage.cleared_time or since)
    return max(since, conditions.resumed(status, gang.now) or since)
