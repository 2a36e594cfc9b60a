"""How the job stands: the fold of its last status and what its children show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..api import gates, size
from ..api.payload import StageResult
from ..api.v1alpha1 import (
    REASONS,
    Evaluation,
    LastFailure,
    Phase,
    StageName,
    StageStatus,
    Status,
)
from ..api.v1alpha1.status import Attempt, CheckpointStatus
from . import children, conditions, history, names, usage
from .diagnose import with_remedy
from .observation import Observation
from .policy import deadlines, rerun, stall
from .stage import Verdict, first_status, judge

_PHASES: dict[StageName, Phase] = {
    "preprocess": "Preprocessing",
    "train": "Training",
    "evaluate": "Evaluating",
}


@dataclass(frozen=True)
class Judgement:
    """The status, and when to look again although nothing happens."""

    status: Status
    wake: datetime | None = None


def status(obs: Observation, now: datetime) -> Status:
    """The job's status. Nothing but a rerun leaves a terminal phase; given twice it is the same."""
    return judgement(obs, now).status


def status_of_unreadable(prior: Status, generation: int, message: str, now: datetime) -> Status:
    """The status of a job whose spec this version cannot read.

    It is not over: where the policy was at fault, which can be corrected, the job goes on where it
    was. Its pods are left as they are.
    """
    if is_over(prior):
        return prior
    words = with_remedy("InvalidSpec", message)[:2048]
    told = conditions.of_unreadable(prior, words, generation, now)
    return prior.model_copy(
        update={
            "observed_generation": generation,
            "reason": "InvalidSpec",
            "message": words,
            "conditions": told,
        }
    )


def is_over(status: Status) -> bool:
    """Whether the job has ended."""
    return status.phase in ("Succeeded", "Failed")


def judgement(obs: Observation, now: datetime) -> Judgement:
    """As ``status``, with the time to look again."""
    prior = obs.job.status
    if not obs.job.ours:
        return Judgement(prior)
    obs = rerun.applied(obs, now)
    prior = obs.job.status
    if is_over(prior):
        return Judgement(_seen(prior, obs.job.metadata.generation))
    # The first pods are made before the first status is written.
    created = [pod.created for pod in obs.pods if pod.created]
    started = prior.start_time or min(created, default=None)
    if started is None and not obs.job.spec.suspend:
        started = now
    before = {stage.name: stage for stage in prior.stages}
    stages: list[StageStatus] = []
    evaluation, failure, past = prior.evaluation, prior.last_failure, prior.history
    current: StageStatus | None = None
    wakes: list[datetime] = []
    since = started or now
    for name in children.stages(obs.job):
        stage = before.get(name) or first_status(name)
        if current is not None:
            stages.append(stage)
            continue
        verdict = _too_large(obs, stage, now) or judge(obs, stage, since, now)
        if name == "evaluate" and verdict.result is not None:
            verdict, evaluation = _gated(obs, verdict, verdict.result, stages, now)
        verdict, past = _accounted(obs, past, stage, verdict, now)
        stage, failure = verdict.stage, verdict.failure or failure
        if verdict.wake is not None:
            wakes.append(verdict.wake)
        stages.append(stage)
        since = stage.completion_time or since
        if stage.phase != "Succeeded":
            current = stage
    # Resumed or run again, a job has all of its time again, as a Job of batch/v1 has.
    resumed = conditions.resumed(prior, now)
    active = max(started, resumed) if started and resumed else started
    deadline = deadlines.active_until(obs.job.spec.policy, active)
    if obs.job.spec.suspend:
        deadline = None
    if current is not None and deadline is not None and current.phase != "Failed":
        if now >= deadline:
            limit = obs.job.spec.policy.active_deadline_seconds
            words = f"the job took longer than {limit} s"
            verdict = _stage_failed(Verdict(current), "DeadlineExceeded", words, now)
            verdict, past = _accounted(obs, past, current, verdict, now)
            stages = [verdict.stage if stage is current else stage for stage in stages]
            current, failure = verdict.stage, verdict.failure
        else:
            wakes.append(deadline)
    phase, reason, message = _summary(obs, current, stages, evaluation)
    over = phase in ("Succeeded", "Failed")
    new = Status(
        observed_generation=obs.job.metadata.generation,
        phase=phase,
        reason=reason,
        message=message,
        conditions=conditions.of_job(
            prior,
            phase,
            reason,
            message,
            obs.job.metadata.generation,
            now,
            settled=all(pod.at_rest for pod in obs.pods),
            progressing=_progressing(obs, current),
        ),
        start_time=started,
        completion_time=(_ended(stages) or now) if over else None,
        stages=stages,
        progress=obs.progress_of(current) if current and not over else None,
        checkpoint=_checkpoint(obs),
        evaluation=evaluation,
        last_failure=failure,
        history=past,
        rerun=prior.rerun,
        rerun_time=prior.rerun_time,
    )
    return Judgement(new, None if over else min(wakes, default=None))


def _accounted(
    obs: Observation, past: list[Attempt], before: StageStatus, verdict: Verdict, now: datetime
) -> tuple[Verdict, list[Attempt]]:
    """If an attempt has ended: the verdict with what it took, and the history with it."""
    stage = verdict.stage
    over = stage.phase in ("Succeeded", "Failed") and before.phase not in ("Succeeded", "Failed")
    if not over and stage.attempt == before.attempt:
        return verdict, past
    failure = verdict.failure
    number = failure.attempt if failure else stage.attempt if over else before.attempt
    all_pods = (*obs.pods_of(stage.name), *obs.executors)
    pods = [pod for pod in all_pods if (pod.stage, pod.attempt) == (stage.name, number)]
    past = history.after(past, stage, number, failure, pods, now)
    well = stage.phase == "Succeeded"
    kept = _checkpoint(obs)
    spent = usage.after(
        stage.usage,
        pods,
        stage.completion_time or now,
        well,
        kept.time if kept and stage.name == "train" else None,
    )
    return replace(verdict, stage=stage.model_copy(update={"usage": spent})), past


def _seen(ended: Status, generation: int) -> Status:
    """The verdict stands, whatever is edited afterwards; that the edit was seen is told, for tools
    that wait for it."""
    if ended.observed_generation == generation:
        return ended
    told = [
        condition.model_copy(update={"observed_generation": generation})
        for condition in ended.conditions
    ]
    return ended.model_copy(update={"observed_generation": generation, "conditions": told})


def _summary(
    obs: Observation,
    current: StageStatus | None,
    stages: list[StageStatus],
    evaluation: Evaluation | None,
) -> tuple[Phase, str, str]:
    """Phase, reason and message of the job."""
    if current is None:
        return "Succeeded", "Completed", _done(obs, evaluation)
    if current.phase == "Failed":
        return "Failed", current.reason, current.message
    if obs.job.spec.suspend:
        return "Suspended", "Suspended", f"{current.name}: {current.message}"
    if current is stages[0] and current.start_time is None:
        return "Pending", current.reason, current.message
    return _PHASES[current.name], current.reason, current.message


def _done(obs: Observation, evaluation: Evaluation | None) -> str:
    """What a job that has succeeded says."""
    if evaluation is None or all(metric.passed is None for metric in evaluation.metrics):
        return "done"
    words = "the model passed all gates"
    if alone := gates.uncompared(evaluation.metrics, gates.of(obs.job)):
        words += f"; there was no accepted model to compare {', '.join(alone)} with"
    return words


def _ended(stages: list[StageStatus]) -> datetime | None:
    return max((stage.completion_time for stage in stages if stage.completion_time), default=None)


def _checkpoint(obs: Observation) -> CheckpointStatus | None:
    before, told = obs.job.status.checkpoint, obs.reported
    if told is None or told.checkpoint_step is None or told.progress.updated_time is None:
        return before
    if told.progress.stage != "train":
        return before
    train = next((stage for stage in obs.job.status.stages if stage.name == "train"), None)
    if train is not None and told.attempt < (train.first_attempt or 1):
        return before  # of the run before this one, which starts over
    if before is not None and before.step == told.checkpoint_step:
        return before  # the operator before us was told first
    if before is not None and before.time > told.progress.updated_time:
        return before  # an operator beside us was told later
    return CheckpointStatus(
        step=told.checkpoint_step,
        uri=names.checkpoints_uri(obs.job),
        time=told.progress.updated_time,
    )


def _progressing(
    obs: Observation, current: StageStatus | None
) -> tuple[conditions.Value, str, str] | None:
    """The condition by which policy.stall tells what it sees; None when it does not look."""
    if obs.job.spec.policy.stall is None or current is None or current.name != "train":
        return None
    if current.phase != "Running":
        return None
    if current.reason == "NoProgress":
        return "False", current.reason, current.message
    if not stall.heard(obs):
        return "Unknown", "NotHeard", "the pods cannot report progress to this operator"
    return "True", "Progressing", ""


def _too_large(obs: Observation, stage: StageStatus, now: datetime) -> Verdict | None:
    """The job's end, before its next pods are made, if they cannot be given what is in the spec."""
    if stage.phase != "Pending" or obs.pods_of(stage.name):
        return None
    found = size.excess(obs.job.spec)
    if found is None:
        return None
    return _stage_failed(Verdict(stage), "SpecTooLarge", found.message, now)


def _gated(
    obs: Observation,
    verdict: Verdict,
    result: StageResult,
    before: Sequence[StageStatus],
    now: datetime,
) -> tuple[Verdict, Evaluation | None]:
    """The verdict of the evaluate stage after its gates and the stages ``before`` it."""
    made = next((s.outputs.digest for s in before if s.name == "preprocess" and s.outputs), "")
    read = result.dataset_digest or ""
    if made and read and made != read:
        words = f"it was judged on a dataset of digest {read}; preprocess left one of {made}"
        return _stage_failed(verdict, "DatasetInvalid", words, now), None
    limits = gates.of(obs.job)
    values = {metric.name: metric.value for metric in result.metrics or ()}
    missing = [gate.metric for gate in limits if gate.metric not in values]
    if missing:
        return _stage_failed(
            verdict, "ResultInvalid", f"the evaluation has no {missing[0]}", now
        ), None
    baseline = result.baseline
    judged = gates.judge(values, limits, baseline.metrics if baseline else {})
    of_folds = {
        metric.name: {"deviation": metric.deviation, "test": metric.test}
        for metric in result.metrics or ()
    }
    judged = [metric.model_copy(update=of_folds[metric.name]) for metric in judged]
    accepted = gates.accepts(judged)
    evaluation = Evaluation(
        metrics=judged,
        samples=result.samples or 0,
        passed=accepted,
        model_uri=names.model_uri(obs.job),
        model_digest=result.model_digest or "",
        dataset_digest=result.dataset_digest or "",
    )
    if not accepted:
        other = baseline is not None and baseline.dataset_digest != evaluation.dataset_digest
        words = ", ".join(
            gates.in_words(metric, limits, other_data=other)
            for metric in judged
            if metric.passed is False
        )
        return _stage_failed(verdict, "GateFailed", words, now), evaluation
    return verdict, evaluation


def _stage_failed(verdict: Verdict, reason: str, what: str, now: datetime) -> Verdict:
    """The verdict turned into a final failure of the job's own making."""
    message = with_remedy(reason, what)[:2048]
    ended = verdict.stage.completion_time or now
    update = {"phase": "Failed", "reason": reason, "message": message, "completion_time": ended}
    stage = verdict.stage.model_copy(update=update)
    failure = LastFailure(
        stage=stage.name,
        attempt=stage.attempt,
        failure_class=REASONS[reason].failure_class,
        reason=reason,
        message=message,
        time=ended,
    )
    return Verdict(stage, failure=failure)
