"""How a stage that is N pods stands: the first policy that has an answer decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ...api import size
from ...api.v1alpha1 import StageStatus
from .. import diagnose
from ..diagnose import Failure
from ..observation import Observation
from ..policy import stall
from .ending import attempt_failed, completed, deleted, failed, resized, suspended
from .gang import Gang, created, seen
from .outcome import StageOutcome, failed_for_good
from .starting import in_line, starting

if TYPE_CHECKING:
    from .stage import Stage


# A driver that runs asks for its executors within seconds; its image may take longer to come.
_EXECUTORS_LATE = timedelta(minutes=5)


def judge(
    room: Stage, obs: Observation, prior: StageStatus, since: datetime, now: datetime
) -> StageOutcome:
    """As `Stage.judge`."""
    if prior.over:
        return StageOutcome(prior)
    gang = seen(room, obs, prior, since, now)
    return next(outcome for policy in POLICIES if (outcome := policy(gang)) is not None)


def too_large(gang: Gang) -> StageOutcome | None:
    """Before its first pods are made: they could not be given what is in the spec."""
    if gang.prior.phase != "Pending" or gang.obs.pods_of(gang.stage.name):
        return None
    found = size.excess(gang.obs.job.spec)
    return failed_for_good(gang.prior, "SpecTooLarge", found.message, gang.now) if found else None


def running(gang: Gang) -> StageOutcome | None:
    """All pods run: whether they get on, as far as policy.stall wants to know."""
    if not gang.complete or not all(pod.started or pod.over for pod in gang.pods):
        return None
    stage = _running(gang)
    rule = gang.obs.job.spec.policy.stall if gang.room.resumable else None
    watch = stall.watch(gang.obs, stage, gang.pods, gang.now) if rule is not None else None
    if rule is None or watch is None:
        late = _executors_late(gang)
        return StageOutcome(stage, wake=late if late is not None and gang.now < late else None)
    if gang.now < watch.until:
        return StageOutcome(stage, wake=watch.until)
    what = f"nothing new for {rule.after_seconds} s; {watch.message}"
    failure = Failure("NoProgress", what)
    if rule.action == "alert":
        update = {"reason": failure.reason, "message": failure.with_remedy()[:2048]}
        return StageOutcome(stage.model_copy(update=update))
    final = rule.action == "fail"
    return attempt_failed(gang, failure, final=final, well_until=watch.since)


POLICIES: tuple[Callable[[Gang], StageOutcome | None], ...] = (
    too_large,
    completed,
    deleted,
    failed,
    suspended,
    resized,
    running,
    in_line,
    starting,
)


def _running(gang: Gang) -> StageStatus:
    """The stage runs, and says what is missing all the same: something that was deleted and cannot
    be made again, or executors, for which Spark waits, and so do its users."""
    update = {"phase": "Running", "reason": "Running", "message": "", "waiting_since": None}
    blocker, message = gang.refused, ""
    executors, late = gang.stage.executors, _executors_late(gang)
    if late is not None and gang.now >= late:
        many = gang.room.executors(gang.obs.job)
        update["message"] = (
            f"0 of {many} executors run: the driver has made none yet; where a quota, a policy or "
            "its service account's rights keep it from that, its log says so"
        )
    if blocker is None and executors is not None and executors.ready < executors.desired:
        waiting = (diagnose.waiting_of(pod) for pod in gang.executors)
        blocker = next((failure for failure in waiting if failure is not None), None)
        message = f"{executors.ready} of {executors.desired} executors run: "
    if blocker is not None:
        message += blocker.with_remedy()
        update |= {"reason": blocker.reason, "message": message[:2048]}
    return gang.stage.model_copy(update=update)


def _executors_late(gang: Gang) -> datetime | None:
    """From when on it is worth a word that a driver has no executors. What the API server refuses
    a driver, nobody else is told. None on one machine, where the driver has none."""
    expected = gang.obs.settings.serves and gang.room.executors(gang.obs.job)
    if gang.stage.executors is not None or not expected:
        return None
    return max(created(gang.pods), default=gang.now) + _EXECUTORS_LATE
