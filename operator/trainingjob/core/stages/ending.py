"""How an attempt ends: its result, its failure, or somebody's wish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ...api.payload import StageResult
from ...api.v1alpha1 import LastFailure
from ...api.v1alpha1.reported import Outputs, StageWarning
from ...api.v1alpha1.status import PodCounts
from .. import diagnose, usage
from ..children.pod import digest_of
from ..diagnose import Failure
from ..pods import PodView
from ..policy import retries
from .gang import Gang, vanished
from .outcome import StageOutcome

# A pod that failed because of another one often reports first. So long we wait for the cause.
_SETTLE = timedelta(seconds=5)
_DELETING: Mapping[str, object] = {
    "reason": "Deleting",
    "message": "the job is being deleted; its pods are stopped",
}
_SUSPENDED = {
    "reason": "Suspended",
    "message": "spec.suspend is set; the stage goes on when it is false",
}
_UNSEEN = StageWarning(
    reason="ModelNotChecked",
    message="the image runs as it stands: nobody but its exit codes says that a model is there",
)


def completed(gang: Gang) -> StageOutcome | None:
    """The first pod has reported its result. One that is unusable is a failure."""
    first = next((pod for pod in gang.pods if pod.index == 0), None)
    result = diagnose.result_of(first) if first is not None else None
    if first is not None and result is not None:
        place = gang.room.output_uri(gang.obs.job)
        if result.outputs.uri == place:
            return _succeeded(gang, result)
        what = f"reports an output at {result.outputs.uri}, which is not the job's place {place}"
        return attempt_failed(gang, Failure("ResultInvalid", f"pod {first.name} {what}", first))
    if gang.room.uses_our_runtime(gang.obs.job):
        if first is None or first.phase != "Succeeded":
            return None
        what = f"pod {first.name} {_without_result(first)}"
        return attempt_failed(gang, Failure("ResultInvalid", what, first))
    # A user's own image: nothing but its exit codes says how it went.
    if len(gang.done) < gang.wanted:
        return None
    outputs = Outputs(uri=gang.room.output_uri(gang.obs.job), warnings=[_UNSEEN])
    return _succeeded(gang, StageResult(outputs=outputs))


def failed(gang: Gang) -> StageOutcome | None:
    """A pod has failed, or is gone."""
    failure = _first_failure(gang.working) or _lost(gang)
    if failure is None:
        return None
    seen = failure.time or gang.now
    settled = seen + _SETTLE
    # A clock of a node that is far off makes us wait no longer, but not at all.
    waits = failure.secondary and abs(gang.now - seen) < _SETTLE
    if waits and not all(pod.over for pod in gang.pods):
        update = {"phase": "Running", "reason": "Running", "message": "", "waiting_since": None}
        return StageOutcome(gang.stage.model_copy(update=update), wake=settled)
    return attempt_failed(gang, failure)


def deleted(gang: Gang) -> StageOutcome | None:
    """The job is being deleted; what its pods do now is no failure."""
    return _interrupted(gang, _DELETING) if gang.obs.job.deleting else None


def suspended(gang: Gang) -> StageOutcome | None:
    """Somebody has stopped the job for a while."""
    return _interrupted(gang, _SUSPENDED) if gang.obs.job.spec.suspend else None


def resized(gang: Gang) -> StageOutcome | None:
    """The gang was given another size or template while the job was suspended, and was resumed
    before anybody saw that: its pods count on each other, and none is to be made beside them."""
    before = next((pod.of for pod in gang.pods if pod.of not in (None, gang.wanted)), None)
    template = digest_of(gang.room.spec_of(gang.obs.job).template)
    if before is not None:
        what = f"its gang was of {before} and is of {gang.wanted}; the pods are made anew"
    elif any(pod.template not in ("", template) for pod in gang.pods):
        what = f"spec.{gang.stage.name}.template has changed; the pods are made anew"
    else:
        return None
    return _interrupted(gang, {"reason": "Resized", "message": what})


def _interrupted(gang: Gang, why: Mapping[str, object]) -> StageOutcome:
    """What runs is to end, and counts as an attempt that is charged to nobody."""
    update = {**why, "phase": "Pending", "waiting_since": None, "retry_time": None}
    if gang.pods:
        update |= {
            "attempt": gang.stage.attempt + 1,
            "pods": PodCounts(desired=gang.wanted),
            "executors": None,
            "cleared_time": None,
        }
    return StageOutcome(gang.stage.model_copy(update=update))


def attempt_failed(
    gang: Gang, failure: Failure, *, final: bool = False, well_until: datetime | None = None
) -> StageOutcome:
    """Another attempt, or the end; for sure when it is ``final``. ``well_until``: when all was well
    for the last time, if that was before the failure."""
    stage, pod, policy, now = gang.stage, failure.pod, gang.obs.job.spec.policy, gang.now
    budget = retries.budget_of(failure.failure_class, failure.exit_code, policy.exit_codes or ())
    if final:
        budget = None
    well = max((usage.seconds(pod, well_until or now) for pod in gang.pods), default=0.0)
    counts = retries.forgiven(stage.failures, well)
    final = budget is None or retries.exhausted(counts, budget, policy.retries)
    if budget is not None:
        counts = retries.charge(counts, budget)
    message = failure.with_remedy(of_accepted=gang.room.of_accepted)
    attempts = stage.attempt - (stage.first_attempt or 1) + 1
    if final and budget is not None and attempts > 1:
        message = f"{message} (after {attempts} attempts)"
    last = LastFailure(
        stage=stage.name,
        attempt=stage.attempt,
        failure_class=failure.failure_class,
        reason=failure.reason,
        message=message[:2048],
        rank=failure.rank,
        pod=pod.name if pod else "",
        node=pod.node if pod else "",
        exit_code=failure.exit_code,
        signal=failure.signal,
        log_tail=failure.log_tail,
        # By our clock: what follows is timed by it.
        time=now,
    )
    if final:
        update: dict[str, object] = {
            "phase": "Failed",
            "reason": failure.reason,
            "message": last.message,
            "completion_time": last.time,
        }
    else:
        update = {
            "phase": "Pending",
            "attempt": stage.attempt + 1,
            "reason": "Restarting",
            "message": f"attempt {stage.attempt + 1} follows: {failure.message}"[:2048],
            "pods": PodCounts(desired=gang.wanted),
        }
        if gang.obs.job.deleting:  # nothing follows
            update |= _DELETING
        elif gang.obs.job.spec.suspend:  # that is what it waits for
            update |= _SUSPENDED
    update |= {"failures": counts, "waiting_since": None, "cleared_time": None, "retry_time": None}
    return StageOutcome(stage.model_copy(update=update), failure=last)


def _succeeded(gang: Gang, result: StageResult) -> StageOutcome:
    update = {
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "",
        "waiting_since": None,
        "completion_time": gang.now,
        "outputs": result.outputs,
        "cached": result.cached,
    }
    return StageOutcome(gang.stage.model_copy(update=update), result=result)


def _without_result(pod: PodView) -> str:
    if not pod.message:
        return "ended without a result"
    if pod.cut:
        return "left a result that its kubelet has cut off, as the pod has many containers"
    return "left a result that is no report"


def _first_failure(pods: Sequence[PodView]) -> Failure | None:
    """The failure that came first; one that another pod has caused only if there is no other."""
    failures = [failure for pod in pods if (failure := diagnose.failure_of(pod)) is not None]
    return min(failures, key=_order, default=None)


def _order(failure: Failure) -> tuple[bool, float, int]:
    time = failure.time.timestamp() if failure.time else float("inf")
    return (failure.secondary, time, failure.pod.index if failure.pod else 0)


def _lost(gang: Gang) -> Failure | None:
    """A pod that was there and is gone, or that somebody deletes."""
    pod = next((pod for pod in gang.working if pod.deleting and not pod.over), None)
    if pod is not None and pod.disrupted:
        return diagnose.interruption_of(pod)
    if pod is not None:
        return Failure("PodLost", f"pod {pod.name} was deleted", pod)
    if gang.stage.attempt != gang.prior.attempt:
        return None
    missing = vanished(gang.room, gang.obs, gang.prior)
    return Failure("PodLost", f"pod {missing[0]} has disappeared") if missing else None
