"""An attempt whose pods do not all run yet: what blocks it, and for how long that may last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.v1alpha1 import StageStatus
from ...api.v1alpha1.status import PodCounts, format_time
from .. import conditions, diagnose
from ..diagnose import Failure
from ..pods import PodView
from ..policy import deadlines, explaining, line, stuck
from .ending import attempt_failed
from .gang import Gang, created
from .outcome import StageOutcome

# What is nobody's fault, and is over when it is the job's turn.
_LINES = ("SchedulingGated", "QuotaExceeded")
# A pod on its node that has no container after so long is worth a word.
_SLOW = timedelta(seconds=30)


@dataclass(frozen=True)
class _Start:
    """``blocker``: what keeps pods from starting, ``blocked_since`` then, and ``tolerated_until``
    then. ``deadline``: when all of them must run; None while it waits in somebody's line: a gate
    keeps a pod from being scheduled, as a queue's does, or a quota from being made. ``held_until``:
    when it gives back what a quota has let it have."""

    gang: Gang
    stage: StageStatus
    leaving: Sequence[PodView]
    blocker: Failure | None
    blocked_since: datetime | None
    tolerated_until: datetime | None
    deadline: datetime | None
    held_until: datetime


def in_line(gang: Gang) -> StageOutcome | None:
    """A gang that has given back what it had, until it is whole: nothing counts against it."""
    due = gang.stage.retry_time
    if due is None or gang.complete or gang.refused is not None:
        return None
    return StageOutcome(gang.stage, wake=due if gang.now < due else None)


def starting(gang: Gang) -> StageOutcome:
    """Too long is a failure; what does not pass by itself is one sooner."""
    start = _start(gang)
    return _gives_back(start) or _too_late(start) or _blocked_too_long(start) or _waits(start)


def _gives_back(start: _Start) -> StageOutcome | None:
    """A quota lets a part of the gang be made, and others wait for what that part holds."""
    gang, blocker, since = start.gang, start.blocker, start.blocked_since
    if blocker is None or blocker.reason != "QuotaExceeded" or since is None:
        return None
    if not gang.pods or gang.now < start.held_until:
        return None
    due = line.retried_at(since, gang.now, _seed(gang))
    what = f"{blocker.message}; its {len(gang.pods)} pods of {gang.wanted} were given back, and "
    what += f"it is tried again at {format_time(due)}"
    update = {
        "attempt": start.stage.attempt + 1,
        "reason": blocker.reason,
        "message": diagnose.with_remedy(blocker.reason, what)[:2048],
        "waiting_since": since,
        "retry_time": due,
        "pods": PodCounts(desired=gang.wanted),
        "cleared_time": None,
    }
    return StageOutcome(start.stage.model_copy(update=update), wake=due)


def _seed(gang: Gang) -> str:
    return f"{gang.obs.job.metadata.uid}/{gang.stage.name}/{gang.stage.attempt}"


def _too_late(start: _Start) -> StageOutcome | None:
    if start.deadline is None or start.gang.now < start.deadline:
        return None
    blocker = start.blocker
    if blocker is None and not _is_tried(start.gang):
        return None
    why = diagnose.slowest(start.gang.pods, start.gang.obs.told)
    if blocker is not None:
        why = f"{blocker.reason}: {blocker.with_remedy()}"
    late = Failure("StartupDeadlineExceeded", why, blocker.pod if blocker else None)
    return attempt_failed(start.gang, late)


def _is_tried(gang: Gang) -> bool:
    """Whether any pod was made or is in the way. Else nobody has looked at the job since its turn
    came, and that is the operator's fault."""
    cleaning = any(pod.cleans and not pod.over for pod in gang.obs.pods)
    return cleaning or bool(gang.obs.pods_of(gang.stage.name))


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
        update["retry_time"] = None
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
    if blocker is not None and blocker.reason == "QuotaExceeded" and gang.pods:
        wakes.append(start.held_until)
    return StageOutcome(start.stage.model_copy(update=update), wake=min(wakes, default=None))


def _start(gang: Gang) -> _Start:
    policy, leaving, stage = gang.obs.job.spec.policy, gang.leaving, gang.stage
    was_stuck = stage.reason == "PodStuck"
    blocker = _blocker(gang) or _stuck(gang, leaving, before=was_stuck)
    queued = blocker is not None and blocker.reason in _LINES
    if (was_stuck and not leaving) or (stage.reason in _LINES and not queued):
        stage = stage.model_copy(update={"cleared_time": gang.now})
    since = tolerated = None
    if blocker is not None:
        # Not `or now`: where the CRD is older than we are it drops the time, at every write.
        since = stage.waiting_since if stage.reason == blocker.reason else gang.now
        since = since and min(since, gang.now)  # the clock may have been set back
        tolerated = deadlines.tolerated_until(blocker.reason, since)
    until = deadlines.started_until(policy, _attempt_since(gang, stage))
    put_off = stuck.tried_until(policy, leaving, stage.waiting_since if was_stuck else gang.now)
    deadline = None if queued else max(until, put_off or until)
    held = line.held_until(since or gang.now, _seed(gang))
    return _Start(gang, stage, leaving, blocker, since, tolerated, deadline, held)


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
            message += ": a finalizer keeps it" + (f", {pod.finalizers}" if pod.finalizers else "")
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
