"""How the job stands, and what follows from it: one fold of its last status and its children."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ..api import gates
from ..api.v1alpha1 import Evaluation, LastFailure, Phase, StageStatus, Status
from ..api.v1alpha1.status import Attempt, CheckpointStatus, Deployment
from . import accepted, conditions, history, names, stages, usage
from .diagnose import with_remedy
from .observation import Observation
from .plan import Plan, planned
from .policy import cleanup, deadlines, rerun, stall
from .stages import StageOutcome
from .stages.gang import vanished as vanished_pods
from .stages.outcome import failed_for_good


@dataclass(frozen=True)
class Fold:
    """Both halves of a decision: the status to store, and what to do."""

    status: Status
    plan: Plan


def fold(obs: Observation, now: datetime) -> Fold:
    """Nothing but a rerun leaves a terminal phase; given its own status it changes nothing. What is
    in status only to be read, as the phase is, is made anew from the rest at each fold."""
    found, wake = _judged(obs, now)
    return Fold(found, planned(obs, found, wake, now))


def status(obs: Observation, now: datetime) -> Status:
    """The half of ``fold`` that is to be stored."""
    return _judged(obs, now)[0]


def plan(obs: Observation, now: datetime) -> Plan:
    """The half of ``fold`` that is to be done."""
    return fold(obs, now).plan


def status_of_unreadable(prior: Status, generation: int, message: str, now: datetime) -> Status:
    """The status of a job whose spec this version cannot read.

    It is not over: where the policy was at fault, which can be corrected, the job goes on where it
    was. Its pods are left as they are.
    """
    if prior.over:
        return prior
    message = with_remedy("InvalidSpec", message)[:2048]
    return prior.model_copy(
        update={
            "observed_generation": generation,
            "reason": "InvalidSpec",
            "message": message,
            "conditions": conditions.of_unreadable(prior, message, generation, now),
        }
    )


def vanished(obs: Observation) -> list[str]:
    """Names of pods that are not seen and that status says were running."""
    stored = obs.job.status.stages
    return [name for one in stored for name in vanished_pods(stages.named(one.name), obs, one)]


def _judged(obs: Observation, now: datetime) -> tuple[Status, datetime | None]:
    """The status, and when to look again although nothing happens."""
    if not obs.job.ours:
        return obs.job.status, None
    if not obs.job.deleting:
        obs = rerun.applied(obs, now)
    started = _started(obs, now)
    walk = _walked(obs, started or now, now)
    _hold_to_deadline(walk, started)
    found = _assembled(walk, started)
    if found.over:
        return cleanup.after(obs, found, now)
    return found, min(walk.wakes, default=None)


def _started(obs: Observation, now: datetime) -> datetime | None:
    """When the job was first acted on: its first pods are made before its first status is written.
    None for one that was created suspended."""
    created = [pod.created for pod in obs.pods if pod.created]
    started = obs.job.status.start_time or min(created, default=None)
    return now if started is None and not obs.job.spec.suspend else started


@dataclass
class _Walk:
    """Through the stages. ``current``: the one whose turn it is; None when all have succeeded."""

    obs: Observation
    now: datetime
    evaluation: Evaluation | None
    failure: LastFailure | None
    past: list[Attempt]
    deployment: Deployment | None = None
    stages: list[StageStatus] = field(default_factory=list)
    current: StageStatus | None = None
    wakes: list[datetime] = field(default_factory=list)

    def take(self, before: StageStatus, outcome: StageOutcome) -> StageStatus:
        """The stage that was ``before``, after its outcome; if an attempt has ended by it, with
        what that took, and the history with it."""
        stage, failure = outcome.stage, outcome.failure
        ended = stage.over and not before.over
        if ended or stage.attempt != before.attempt:
            number = failure.attempt if failure else stage.attempt if ended else before.attempt
            stage = self._account(stage, number, failure)
        self.evaluation = outcome.evaluation or self.evaluation
        self.deployment = outcome.deployment or self.deployment
        self.failure = failure or self.failure
        if outcome.wake is not None:
            self.wakes.append(outcome.wake)
        self.current = None if stage.phase == "Succeeded" else stage
        return stage

    def _account(
        self, stage: StageStatus, attempt: int, failure: LastFailure | None
    ) -> StageStatus:
        every = (*self.obs.pods_of(stage.name), *self.obs.executors)
        pods = [pod for pod in every if (pod.stage, pod.attempt) == (stage.name, attempt)]
        self.past = history.after(self.past, stage, attempt, failure, pods, self.now)
        ended = stage.completion_time or self.now
        saved = _checkpoint(self.obs) if stages.named(stage.name).resumable else None
        spent = usage.after(
            stage.usage, pods, ended, stage.phase == "Succeeded", saved.time if saved else None
        )
        return stage.model_copy(update={"usage": spent})


def _walked(obs: Observation, since: datetime, now: datetime) -> _Walk:
    """Each stage has its turn when the one before has succeeded, the first one ``since`` then."""
    prior = obs.job.status
    before = {stage.name: stage for stage in prior.stages}
    past = prior.history
    walk = _Walk(obs, now, prior.evaluation, prior.last_failure, past, _deployed(obs))
    back = rerun.returning(prior)
    for room in stages.of(obs.job):
        stage = before.get(room.name) or StageStatus(name=room.name)
        if (walk.current is None) if back is None else (room.name == back.name):
            outcome = _forbidden(walk, stage) or room.judge(obs, stage, since, now)
            if outcome.result is not None:
                outcome = room.conclude(obs, outcome, walk.stages, now)
            stage = walk.take(stage, outcome)
            since = stage.completion_time or since
        walk.stages.append(stage)
    if walk.current is None:  # also when what has gone back is not what the job came to
        walk.current = next((one for one in walk.stages if one.phase != "Succeeded"), None)
    return walk


def _forbidden(walk: _Walk, first: StageStatus) -> StageOutcome | None:
    """Before anything has begun: a later stage for which the operator has no rights, or the cluster
    no API."""
    obs = walk.obs
    if walk.stages or first.phase != "Pending" or first.start_time or obs.pods:
        return None
    found = (room.forbidden(obs.job, obs.settings) for room in stages.of(obs.job))
    denied = next((one for one in found if one is not None), None)
    return None if denied is None else failed_for_good(first, *denied, walk.now)


def _hold_to_deadline(walk: _Walk, started: datetime | None) -> None:
    """End the job that takes too long. Resumed or run again, it has all of its time again, as a Job
    of batch/v1 has."""
    spec, current = walk.obs.job.spec, walk.current
    resumed = conditions.resumed(walk.obs.job.status, walk.now)
    active = max(started, resumed) if started and resumed else started
    deadline = deadlines.active_until(spec.policy, active)
    stopped = spec.suspend or walk.obs.job.deleting
    if stopped or deadline is None or current is None or current.phase == "Failed":
        return
    if stages.named(current.name).timed:
        return
    if walk.now < deadline:
        walk.wakes.append(deadline)
        return
    what = f"the job took longer than {spec.policy.active_deadline_seconds} s"
    if current.message:  # what it waits for, or what the attempt before ended with
        what += f"; {current.name}, {current.reason}: {current.message}"
    outcome = failed_for_good(current, "DeadlineExceeded", what, walk.now)
    place = walk.stages.index(current)
    walk.stages[place] = walk.take(current, outcome)


def _assembled(walk: _Walk, started: datetime | None) -> Status:
    obs, current = walk.obs, walk.current
    prior, generation = obs.job.status, obs.job.metadata.generation
    phase, reason, message = _summary(walk)
    over = phase in ("Succeeded", "Failed")
    return Status(
        observed_generation=generation,
        phase=phase,
        reason=reason,
        message=message,
        conditions=conditions.of_job(
            prior,
            phase,
            reason,
            message,
            generation,
            walk.now,
            settled=all(pod.at_rest for pod in obs.pods if not (over and pod.cleans)),
            progressing=_progressing(obs, current),
            deployed=_served(walk.deployment, _wanted(walk)),
        ),
        start_time=started,
        completion_time=(_ended(walk.stages) or walk.now) if over else None,
        stages=walk.stages,
        progress=obs.progress_of(current) if current and not over else None,
        checkpoint=_checkpoint(obs),
        evaluation=walk.evaluation,
        accepted=accepted.last(obs.job, walk.evaluation),
        deployment=walk.deployment,
        last_failure=walk.failure,
        history=walk.past,
        rerun=prior.rerun,
        rerun_time=prior.rerun_time,
        # What was removed stays so while only what serves goes back.
        cleanup=prior.cleanup if over or rerun.returning(prior) else None,
    )


def _summary(walk: _Walk) -> tuple[Phase, str, str]:
    """Phase, reason and message of the job."""
    current = walk.current
    if current is None:
        return "Succeeded", "Completed", _done(walk)
    if current.phase == "Failed":
        return "Failed", current.reason, current.message
    if walk.obs.job.deleting:
        return "Deleting", "Deleting", _deleting(walk.obs)
    if walk.obs.job.spec.suspend:
        return "Suspended", "Suspended", f"{current.name}: {current.message}"
    if current is walk.stages[0] and current.start_time is None:
        return "Pending", current.reason, current.message
    return stages.named(current.name).phase, current.reason, current.message


def _deleting(obs: Observation) -> str:
    """What a job says that was deleted before it was over, and is still there."""
    left = [pod for pod in obs.pods if not pod.at_rest]
    message = "the job is being deleted; its pods are stopped"
    if left:
        message += f": {len(left)} are left"
    if obs.job.metadata.finalizers:
        keepers = ", ".join(obs.job.metadata.finalizers)
        message += f"; it stays until who has set its finalizers removes them: {keepers}"
    return message[:2048]


def _done(walk: _Walk) -> str:
    """What a job that has succeeded says."""
    evaluation, served = walk.evaluation, walk.deployment
    message = "done"
    if evaluation is not None and any(metric.passed is not None for metric in evaluation.metrics):
        message = "the model passed all gates"
        if alone := gates.uncompared(evaluation.metrics, gates.of(walk.obs.job)):
            message += f"; there was no accepted model to compare {', '.join(alone)} with"
    if served is None:
        return message
    if not served.endpoint:
        return f"{message}; a server of it has reproduced what was judged"
    what = "it" if served.phase == "Ready" else "the model before"
    return f"{message}; {served.kind} {served.name} serves {what}"


def _wanted(walk: _Walk) -> tuple[str, str | None]:
    """The digest of the model that the job is to serve, "" as long as there is none, and in which
    form."""
    spec, judged = walk.obs.job.spec, walk.evaluation
    if spec.promoted is not None:
        return spec.promoted.digest, spec.variant
    return judged.model_digest if judged is not None and judged.passed else "", spec.variant


def _served(
    found: Deployment | None, wanted: tuple[str, str | None]
) -> tuple[conditions.Value, str, str] | None:
    """The condition by which tools see whether the job's model is served; None without one."""
    if found is None:
        return None
    words = f"{found.kind} {found.name}: {found.replicas.ready} of {found.replicas.desired} pods"
    if found.phase != "Ready":
        return "False", found.phase, words
    if (found.model_digest, found.variant) != wanted:
        return "False", "OtherModel", f"{words}; they serve {found.words}"
    return "True", found.phase, words


def _deployed(obs: Observation) -> Deployment | None:
    """What serves a model: as it is found before the job changes it, else as status has it."""
    found = (room.deployed(obs) for room in stages.of(obs.job))
    return next((one for one in found if one is not None), None) or obs.job.status.deployment


def _ended(stages: list[StageStatus]) -> datetime | None:
    return max((stage.completion_time for stage in stages if stage.completion_time), default=None)


def _checkpoint(obs: Observation) -> CheckpointStatus | None:
    before, report = obs.job.status.checkpoint, obs.reported
    if report is None or report.checkpoint_step is None or report.progress.updated_time is None:
        return before
    name = report.progress.stage
    if not stages.named(name).resumable:
        return before
    stage = next((stage for stage in obs.job.status.stages if stage.name == name), None)
    if stage is not None and report.attempt < (stage.first_attempt or 1):
        return before  # of the run before this one, which starts over
    if before is not None and before.step == report.checkpoint_step:
        return before  # the operator before us heard it first
    if before is not None and before.time > report.progress.updated_time:
        return before  # an operator beside us heard it later
    return CheckpointStatus(
        step=report.checkpoint_step,
        uri=names.checkpoints_uri(obs.job),
        time=report.progress.updated_time,
    )


def _progressing(
    obs: Observation, current: StageStatus | None
) -> tuple[conditions.Value, str, str] | None:
    """The condition by which policy.stall shows what it sees; None when it does not look."""
    if obs.job.spec.policy.stall is None or current is None or current.phase != "Running":
        return None
    if not stages.named(current.name).resumable:
        return None
    if current.reason == "NoProgress":
        return "False", current.reason, current.message
    if not stall.heard(obs, current):
        return "Unknown", "NotHeard", "the pods cannot report progress to this operator"
    return "True", "Progressing", ""
