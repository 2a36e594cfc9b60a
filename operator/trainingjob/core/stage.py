"""How one stage stands: its pods judged together, as the gang they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..api.payload import StageResult
from ..api.v1alpha1 import LastFailure, Policy, StageName, StageStatus
from ..api.v1alpha1.status import Outputs, PodCounts, StageWarning, format_time
from . import children, conditions, diagnose, indexes, names, ownership
from .diagnose import Failure
from .observation import Observation
from .pods import PodView
from .policy import deadlines, retries, stall, stuck

# A pod that failed because of another one often reports first. So long we wait for the cause.
_SETTLE = timedelta(seconds=5)
_UNSEEN = StageWarning(
    reason="ModelNotChecked",
    message="the image runs as it stands: nobody but its exit codes says that a model is there",
)


@dataclass(frozen=True)
class Verdict:
    """A stage's new status, with what the job as a whole must know of it."""

    stage: StageStatus
    result: StageResult | None = None
    failure: LastFailure | None = None
    # When the verdict may change although nothing happens.
    wake: datetime | None = None


def judge(obs: Observation, prior: StageStatus, since: datetime, now: datetime) -> Verdict:
    """The stage after what the observation shows. ``since`` is when its turn came.

    Pending: pods are missing, or wait for an attempt to be cleared away. Running: all pods of the
    attempt exist, or have existed. Succeeded, Failed: final.
    """
    if prior.phase in ("Succeeded", "Failed"):
        return Verdict(prior)
    every = obs.pods_of(prior.name)
    attempt = max([prior.attempt, *(pod.attempt for pod in every)])
    pods = [pod for pod in every if pod.attempt == attempt]
    wanted = children.replicas(obs.job, prior.name)
    # A rank that was done is done, whatever becomes of its pod while others work.
    before = prior.pods.completed_indexes if attempt == prior.attempt else None
    working = [pod for pod in pods if pod.index not in indexes.read(before)]
    done = indexes.read(before) | {pod.index for pod in pods if pod.phase == "Succeeded"}
    done &= {*range(wanted)}
    stage = prior.model_copy(
        update={
            "attempt": attempt,
            "signer": ownership.signer(obs.job, every, obs.settings.signing_key),
            "start_time": prior.start_time or min(_created(pods), default=None),
            "image": children.image(obs.job, prior.name, obs.settings),
            "pods": PodCounts(
                desired=wanted,
                ready=sum(pod.phase == "Running" for pod in working) + len(done),
                failed=sum(pod.phase == "Failed" for pod in working),
                completed_indexes=indexes.write(done) if len(done) < wanted else None,
            ),
            "executors": _executors(obs, prior.name, attempt) or prior.executors,
        }
    )
    complete = _completed(obs, stage, pods, len(done) == wanted, now)
    if isinstance(complete, Verdict):
        return complete
    failure = complete or _first_failure(working) or _lost(obs, prior, attempt, working)
    if failure is not None:
        settled = (failure.time or now) + _SETTLE
        if failure.secondary and now < settled and not all(pod.over for pod in pods):
            return Verdict(_running(stage), wake=settled)
        return _failed(obs, stage, failure, now)
    if obs.job.spec.suspend:
        return Verdict(_suspended(stage, pods))
    return _under_way(obs, stage, pods, wanted, since, now)


def _completed(
    obs: Observation, stage: StageStatus, pods: Sequence[PodView], all_done: bool, now: datetime
) -> Verdict | Failure | None:
    """Success, when the first pod told its result; a Failure, when what it told is unusable."""
    first = next((pod for pod in pods if pod.index == 0), None)
    result = diagnose.result_of(first) if first is not None else None
    if result is None:
        reports = children.reports(obs.job, stage.name)
        if reports and first is not None and first.phase == "Succeeded":
            return Failure("ResultInvalid", f"pod {first.name} {_without_result(first)}", first)
        # A user's own image: nobody but the exit codes tells.
        if reports or not all_done:
            return None
        result = StageResult(outputs=Outputs(uri=names.model_uri(obs.job), warnings=[_UNSEEN]))
    elif first and result.outputs.uri != (place := names.output_uri(obs.job, stage.name)):
        what = f"tells of an output at {result.outputs.uri}, which is not the job's place {place}"
        return Failure("ResultInvalid", f"pod {first.name} {what}", first)
    ended = max((pod.finished for pod in pods if pod.finished), default=now)
    done = stage.model_copy(
        update={
            "phase": "Succeeded",
            "reason": "Completed",
            "message": "",
            "waiting_since": None,
            "completion_time": min(ended, now),
            "outputs": result.outputs,
            "cached": result.cached,
        }
    )
    return Verdict(done, result=result)


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


def _lost(
    obs: Observation,
    prior: StageStatus,
    attempt: int,
    pods: Sequence[PodView],
) -> Failure | None:
    """A pod that was there and is gone, or is being deleted by somebody."""
    gone = [pod for pod in pods if pod.deleting and not pod.over]
    if gone:
        pod = gone[0]
        if pod.disrupted:
            return diagnose.interruption_of(pod)
        return Failure("PodLost", f"pod {pod.name} was deleted", pod)
    if attempt != prior.attempt or (missing := _vanished(obs, prior)) is None:
        return None
    return Failure("PodLost", f"pod {missing} has disappeared")


def vanished(obs: Observation) -> bool:
    """Whether a pod is not seen that status says was running."""
    return any(_vanished(obs, stage) is not None for stage in obs.job.status.stages)


def _vanished(obs: Observation, prior: StageStatus) -> str | None:
    if prior.phase != "Running":
        return None
    present = {pod.index for pod in obs.pods_of(prior.name) if pod.attempt >= prior.attempt}
    present |= indexes.read(prior.pods.completed_indexes)
    wanted = range(children.replicas(obs.job, prior.name))
    missing = next((index for index in wanted if index not in present), None)
    if missing is None:
        return None
    return names.pod_name(obs.job, prior.name, prior.attempt, missing)


def _failed(
    obs: Observation,
    stage: StageStatus,
    failure: Failure,
    now: datetime,
    *,
    final: bool = False,
    well_until: datetime | None = None,
) -> Verdict:
    """Another attempt, or the end; for sure when it is ``final``. ``well_until``: when all was well
    for the last time, if that was before the failure."""
    pod = failure.pod
    policy = obs.job.spec.policy
    budget = retries.budget_of(failure.failure_class, failure.exit_code, policy.exit_codes or ())
    if final:
        budget = None
    well = _ran_seconds(obs, stage, well_until or failure.time or now)
    counts = retries.forgiven(stage.failures, well)
    final = budget is None or retries.exhausted(counts, budget, policy.retries)
    if budget is not None:
        counts = retries.charge(counts, budget)
    words = failure.in_words()
    attempts = stage.attempt - (stage.first_attempt or 1) + 1
    if final and budget is not None and attempts > 1:
        words = f"{words} (after {attempts} attempts)"
    last = LastFailure(
        stage=stage.name,
        attempt=stage.attempt,
        failure_class=failure.failure_class,
        reason=failure.reason,
        message=words[:2048],
        rank=failure.rank,
        pod=pod.name if pod else "",
        node=pod.node if pod else "",
        exit_code=failure.exit_code,
        signal=failure.signal,
        log_tail=failure.log_tail,
        # By our clock: what follows is timed by it.
        time=min(failure.time or now, now),
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
            "pods": PodCounts(desired=stage.pods.desired),
        }
    update |= {"failures": counts, "waiting_since": None, "cleared_time": None}
    return Verdict(stage.model_copy(update=update), failure=last)


def _ran_seconds(obs: Observation, stage: StageStatus, until: datetime) -> float:
    """How long the attempt has run."""
    pods = (pod for pod in obs.pods_of(stage.name) if pod.attempt == stage.attempt)
    started = min((pod.started for pod in pods if pod.started), default=until)
    return (until - started).total_seconds()


def _under_way(
    obs: Observation,
    stage: StageStatus,
    pods: Sequence[PodView],
    wanted: int,
    since: datetime,
    now: datetime,
) -> Verdict:
    """Pending or running; too long Pending is a failure, what does not pass by itself sooner."""
    made = {pod.index for pod in pods} | indexes.read(stage.pods.completed_indexes)
    if len(made) == wanted and all(pod.started or pod.over for pod in pods):
        return _watched(obs, _short_of_executors(obs, _running(stage)), pods, now)
    policy, leaving = obs.job.spec.policy, _leaving(obs, stage)
    was_stuck = stage.reason == "PodStuck"
    if was_stuck and not leaving:
        stage = stage.model_copy(update={"cleared_time": now})
    until = deadlines.started_until(policy, _attempt_since(obs, stage, pods, since, now))
    put_off = stuck.tried_until(policy, leaving, stage.waiting_since if was_stuck else now)
    until = max(until, put_off or until)
    hindrance = _hindrance(obs, stage, pods) or _stuck(policy, leaving, was_stuck, now)
    if now >= until:
        why = hindrance.message if hindrance else diagnose.slowest(pods)
        late = Failure("StartupDeadlineExceeded", why, hindrance.pod if hindrance else None)
        return _failed(obs, stage, late, now)
    waiting_since = None
    if hindrance is not None:
        # Not `or now`: where the CRD is older than we are it drops the time, at every write.
        waiting_since = stage.waiting_since if stage.reason == hindrance.reason else now
        borne = deadlines.borne_until(hindrance.reason, waiting_since)
        if borne is not None and now >= borne:
            return _failed(obs, stage, hindrance, now)
        until = min(until, borne or until)
    if len(made) == wanted:
        stage = _running(stage)
    stage = stage.model_copy(update={"waiting_since": waiting_since})
    if hindrance is not None:
        text = hindrance.in_words()[:2048]
        stage = stage.model_copy(update={"reason": hindrance.reason, "message": text})
    elif stage.reason != "Restarting":
        stage = stage.model_copy(update={"reason": "Starting", "message": ""})
    told = (at for pod in leaving if (at := stuck.told_from(pod)) is not None and at > now)
    return Verdict(stage, wake=min((until, *told)))


def _watched(
    obs: Observation, stage: StageStatus, pods: Sequence[PodView], now: datetime
) -> Verdict:
    """All pods run: whether they get on, as far as policy.stall wants to know."""
    rule, watch = obs.job.spec.policy.stall, stall.watch(obs, stage, pods)
    if rule is None or watch is None:
        return Verdict(stage)
    if now < watch.until:
        return Verdict(stage, wake=watch.until)
    failure = Failure("NoProgress", f"nothing new for {rule.after_seconds} s; {watch.words}")
    if rule.action == "alert":
        told = {"reason": failure.reason, "message": failure.in_words()[:2048]}
        return Verdict(stage.model_copy(update=told))
    final = rule.action == "fail"
    return _failed(obs, stage, failure, now, final=final, well_until=watch.since)


def _suspended(stage: StageStatus, pods: Sequence[PodView]) -> StageStatus:
    """What runs is to end, and counts as an attempt that nobody is charged for."""
    update: dict[str, object] = {
        "phase": "Pending",
        "reason": "Suspended",
        "message": "spec.suspend is set; the stage goes on when it is false",
        "waiting_since": None,
    }
    if pods:
        update |= {
            "attempt": stage.attempt + 1,
            "pods": PodCounts(desired=stage.pods.desired),
            "executors": None,
            "cleared_time": None,
        }
    return stage.model_copy(update=update)


def _executors(obs: Observation, name: StageName, attempt: int) -> PodCounts | None:
    """Spark's executors, once there is one."""
    found = [pod for pod in obs.executors if pod.stage == name and pod.attempt == attempt]
    if not found:
        return None
    alive = sum(pod.phase in ("Pending", "Running") for pod in found)
    return PodCounts(
        # Dynamic allocation may want more than the manifest's least number.
        desired=max(children.executors(obs.job, name), alive),
        ready=sum(pod.phase == "Running" for pod in found),
        failed=sum(pod.phase == "Failed" for pod in found),
    )


def _short_of_executors(obs: Observation, stage: StageStatus) -> StageStatus:
    """A driver runs, but its executors do not all: Spark waits, and so do its users."""
    executors = stage.executors
    if executors is None or executors.ready >= executors.desired:
        return stage
    ours = (pod for pod in obs.executors if pod.attempt == stage.attempt)
    waiting = (diagnose.waiting_of(pod) for pod in ours)
    hindrance = next((failure for failure in waiting if failure is not None), None)
    if hindrance is None:
        return stage
    text = f"{executors.ready} of {executors.desired} executors run: {hindrance.in_words()}"
    return stage.model_copy(update={"reason": hindrance.reason, "message": text[:2048]})


def _hindrance(obs: Observation, stage: StageStatus, pods: Sequence[PodView]) -> Failure | None:
    """Why pods do not start: they could not be made, or they wait."""
    ours = {
        names.child_name(obs.job, stage.name),
        names.claim_name(obs.job),
        *(
            names.pod_name(obs.job, stage.name, stage.attempt, index)
            for index in range(stage.pods.desired)
        ),
        # Those of attempts before that could not be deleted.
        *(pod.name for pod in obs.pods_of(stage.name)),
    }
    for obstacle in obs.obstacles:
        if obstacle.name in ours:
            return Failure(obstacle.reason, obstacle.message)
    waiting = (diagnose.waiting_of(pod) for pod in pods)
    return next((failure for failure in waiting if failure is not None), None)


def _stuck(
    policy: Policy, leaving: Sequence[PodView], before: bool, now: datetime
) -> Failure | None:
    """A pod of an earlier attempt that does not go, as on a node that is dead: until somebody
    knows that it is, the pod may yet write where the next one does. ``before``: one was stuck."""
    for pod in leaving:
        told, forced = stuck.told_from(pod), stuck.forced_from(policy, pod)
        # With the grace period force cuts short the time by which the pod was to be gone, too.
        if told is None or (now < told and not (before and pod.held)):
            continue
        words = f"pod {pod.words} was deleted and does not go"
        if pod.held:
            words += ": a finalizer keeps it"
        elif forced is not None:
            words += (
                f"; it is deleted by force at {format_time(forced)}, "
                "as policy.forceDeleteAfterSeconds says"
            )
        return Failure("PodStuck", words, pod)
    return None


def _leaving(obs: Observation, stage: StageStatus) -> list[PodView]:
    """What the attempt waits for before it can begin."""
    return [pod for pod in obs.pods_of(stage.name) if pod.attempt < stage.attempt and pod.deleting]


def _attempt_since(
    obs: Observation,
    stage: StageStatus,
    pods: Sequence[PodView],
    since: datetime,
    now: datetime,
) -> datetime:
    """When the present attempt began."""
    if created := _created(pods):
        return min(created)
    failed = obs.job.status.last_failure
    if stage.attempt > 1 and failed is not None and failed.stage == stage.name:
        since = failed.time
    # Before that none of its pods could be made.
    since = max(since, stage.cleared_time or since)
    return max(since, conditions.resumed(obs.job.status, now) or since)


def _created(pods: Sequence[PodView]) -> list[datetime]:
    return [pod.created for pod in pods if pod.created is not None]


def _running(stage: StageStatus) -> StageStatus:
    update = {"phase": "Running", "reason": "Running", "message": "", "waiting_since": None}
    return stage.model_copy(update=update)


def first_status(name: StageName) -> StageStatus:
    """A stage that has not begun."""
    return StageStatus(name=name)
