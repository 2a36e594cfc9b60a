"""An attempt whose pods do not all run yet: what blocks it, and for how long that may last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.v1alpha1 import StageStatus
from ...api.v1alpha1.status import format_time
from .. import conditions, diagnose
from ..diagnose import Failure
from ..pods import PodView
from ..policy import deadlines, explaining, stuck
from .ending import attempt_failed
from .gang import Gang, created
from .outcome import StageOutcome

# A pod on its node that has no container after so long is worth a word.
_SLOW = timedelta(seconds=30)


@dataclass(frozen=True)
class _Start:
    """``blocker``: what keeps pods from starting, ``blocked_since`` then, and ``tolerated_until``
    then. ``deadline``: when all of them must run; None while a gate keeps one from being scheduled,
    as a queue's does."""

    gang: Gang
    stage: StageStatus
    leaving: Sequence[PodView]
    blocker: Failure | None
    blocked_since: datetime | None
    tolerated_until: datetime | None
    deadline: datetime | None


def starting(gang: Gang) -> StageOutcome:
    """Too long is a failure; what does not pass by itself is one sooner."""
    start = _start(gang)
    return _too_late(start) or _blocked_too_long(start) or _waits(start)


def _too_late(start: _Start) -> StageOutcome | None:
    if start.deadline is None or start.gang.now < start.deadline:
        return None
    blocker = start.blocker
    why = diagnose.slowest(start.gang.pods, start.gang.obs.told)
    if blocker is not None:
        why = f"{blocker.reason}: {blocker.with_remedy()}"
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
    slow = None
    if blocker is None and (gang.complete or start.stage.reason != "Restarting"):
        slow = max(created(gang.pods)) + _SLOW if gang.complete else None
        late = slow is not None and gang.now >= slow
        message = diagnose.slowest(gang.pods, gang.obs.told) if late else ""
        update |= {"reason": "Starting", "message": message}
    unexplained = explaining.wanted_from(gang.obs, gang.pods)
    later = (slow, unexplained, *(stuck.reported_from(pod) for pod in start.leaving))
    wakes = [at for at in later if at is not None and at > gang.now]
    wakes += [at for at in (start.deadline, start.tolerated_until) if at is not None]
    return StageOutcome(start.stage.model_copy(update=update), wake=min(wakes, default=None))


def _start(gang: Gang) -> _Start:
    policy, leaving, stage = gang.obs.job.spec.policy, gang.leaving, gang.stage
    was_stuck = stage.reason == "PodStuck"
    gated = any(pod.gates for pod in gang.pods)
    if (was_stuck and not leaving) or (stage.reason == "SchedulingGated" and not gated):
        stage = stage.model_copy(update={"cleared_time": gang.now})
    blocker = _blocker(gang) or _stuck(gang, leaving, before=was_stuck)
    since = tolerated = None
    if blocker is not None:
        # Not `or now`: where the CRD is older than we are it drops the time, at every write.
        since = stage.waiting_since if stage.reason == blocker.reason else gang.now
        tolerated = deadlines.tolerated_until(blocker.reason, since)
    until = deadlines.started_until(policy, _attempt_since(gang, stage))
    put_off = stuck.tried_until(policy, leaving, stage.waiting_since if was_stuck else gang.now)
    deadline = None if gated else max(until, put_off or until)
    return _Start(gang, stage, leaving, blocker, since, tolerated, deadline)


def _blocker(gang: Gang) -> Failure | None:
    """Why pods do not start: they could not be made, or they wait."""
    waiting = [found for pod in gang.pods if (found := diagnose.waiting_of(pod)) is not None]
    # Until a queue lets all of them go, nothing else counts against the gang's time.
    gated = [failure for failure in waiting if failure.reason == "SchedulingGated"]
    known = next(iter(gated), None) or gang.refused or next(iter(waiting), None)
    if known is not None:
        return known
    told = (diagnose.explained(pod, gang.obs.told.get(pod.uid)) for pod in gang.pods)
    return next((failure for failure in told if failure is not None), None)


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
        return max(min(made), stage.cleared_time or min(made))
    since, status = gang.since, gang.obs.job.status
    failed = status.last_failure
    if stage.attempt > 1 and failed is not None and failed.stage == stage.name:
        since = failed.time
    # Before that none of its pods could be made.
    since = max(since, stage.cleared_time or since)
    return max(since, conditions.resumed(status, gang.now) or since)
