"""How a rollout stands: Kubernetes carries it out, and we say when it is over and whether it goes
back.

Persist before destroying: that it goes back is in status, as the reason of a stage that still runs,
before what serves is touched; the stage has failed when that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ....api.payload import StageResult
from ....api.v1alpha1 import GROUP, REASONS, StageStatus
from ....api.v1alpha1.reasons import ReasonName
from ....api.v1alpha1.status import Deployment, Outputs, PodCounts, Replicas, ServedModel
from ... import accepted, applied, conditions, diagnose, names
from ...child import ChildView, rollout_of
from ...diagnose import Failure
from ...observation import Observation
from ..outcome import StageOutcome, failed_for_good
from . import children
from .target import Target

if TYPE_CHECKING:
    from . import DeployStage

_GOES_BACK: ReasonName = "RolloutFailed"
# No other start of the same pod would mend these.
_FINAL = ("configuration", "data", "verdict")
# A container that fails is started again after 10, 20, 40 … s: its cause has had time to pass.
_CRASHES = timedelta(seconds=150)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rollout:
    """One moment of it. ``prior`` is the stage as stored, whose turn came ``since`` then."""

    room: DeployStage
    obs: Observation
    prior: StageStatus
    since: datetime = _NEVER
    now: datetime = _NEVER

    @property
    def target(self) -> Target:
        """By what kind of object the job is served."""
        return self.room.target(self.obs.job, self.obs.settings)

    @property
    def served(self) -> ChildView | None:
        """The object that serves, as anybody has left it."""
        wanted = (self.target.kind.name, children.name_of(self.obs.job))
        return next((c for c in self.obs.children if (c.kind, c.name) == wanted), None)

    @property
    def workload(self) -> ChildView | None:
        """The Deployment whose pods serve by the template that was applied."""
        found = self.served
        return None if found is None else self.target.workload(self.obs, found)

    @property
    def is_complete(self) -> bool:
        """Whether all pods have that template and are ready, and requests reach them."""
        found, made = self.served, self.workload
        return (
            found is not None
            and made is not None
            and applied.is_complete(made.status, made.generation, made.replicas)
            and self.target.answers(found)
        )

    @property
    def desired(self) -> int:
        """How many pods there are to be."""
        found = self.workload or self.served
        return found.replicas if found is not None else 0

    @property
    def goes_back(self) -> bool:
        """It has failed, and status says so."""
        return self.prior.phase == "Running" and self.prior.reason == _GOES_BACK

    @property
    def by_hand(self) -> bool:
        """Somebody wants the model before."""
        return self.prior.rollback is True

    @property
    def went_back(self) -> bool:
        """What serves is as it was before, or gone."""
        found = self.served
        return found is None or _applied(found).startswith(applied.BACK)

    @property
    def deadline(self) -> datetime:
        """When all pods must be ready, or when it must have gone back."""
        begun = self.prior.start_time or self.prior.cleared_time or self.since
        if self.goes_back:
            begun = self.prior.waiting_since or begun
        begun = max(begun, conditions.resumed(self.obs.job.status, self.now) or begun)
        return begun + timedelta(seconds=children.deadline_of(self.obs.job))

    @property
    def until_deadline(self) -> datetime | None:
        """When to look again; None when that has passed: what is tried again comes by itself."""
        return self.deadline if self.now < self.deadline else None

    @property
    def blocker(self) -> Failure | None:
        """Why the API server does not let it begin, or go back."""
        name = children.name_of(self.obs.job)
        found = next((b for b in self.obs.blockers if b.name == name), None)
        return Failure(found.reason, found.message) if found else None

    @property
    def trouble(self) -> Failure | None:
        """What the pods say that are not ready, the worst first."""
        pods = [pod for pod in self.obs.servers if not pod.ready and not pod.deleting]
        failed = [found for pod in pods if (found := diagnose.failure_of(pod)) is not None]
        waiting = [found for pod in pods if (found := diagnose.waiting_of(pod)) is not None]
        final = [failure for failure in failed if failure.failure_class in _FINAL]
        crashed = sorted(filter(_crashed, failed), key=_runs_again)
        return next(iter([*final, *crashed, *waiting, *failed]), None)

    @property
    def place(self) -> str:
        """Where requests go; "" where nothing serves."""
        if not self.obs.settings.serves:
            return ""
        return self.target.endpoint(self.obs.job, self.served)

    @property
    def words(self) -> str:
        """What is said of it beside what its pods say, for a message; "" for nothing."""
        found = self.served
        return self.target.words(found) if found is not None else ""

    def is_applied(self, found: ChildView) -> bool:
        """Whether it is the wanted one, and its controller has seen that."""
        if self.by_hand:
            return self.went_back
        notes: dict[str, str] = self._wanted()[-1]["metadata"]["annotations"]
        return _applied(found) == notes[names.ANNOTATION_APPLIED]

    def is_same(self, found: ChildView) -> bool:
        """Whether its pods have the wanted template, whatever was applied."""
        return found.rollout == rollout_of(self._wanted()[-1])

    def missing(self) -> list[dict[str, Any]]:
        """What is to be applied now."""
        if not self.obs.settings.deploys:
            return []
        if self.goes_back or self.by_hand:
            return [] if self.went_back else [children.back(self._wanted()[-1])]
        if not accepted.digest_of(self.obs.job):
            return []
        wanted = self._wanted()
        found = self.served
        current = found is not None and self.is_applied(found)
        if found is not None and not current and self.prior.start_time is not None:
            return []  # that its deadline begins anew is to be stored first
        if current and self.is_complete:
            wanted = [*wanted[:-1], children.proven(wanted[-1])]
        there = {(child.kind, child.name): child for child in self.obs.children}
        return [child for child in wanted if not _stands(child, there)]

    def found(self) -> Deployment | None:
        """What serves, as a job finds it that has not begun to change it."""
        return self.told("Ready" if self.is_complete else "RollingOut")

    def told(
        self, phase: Literal["RollingOut", "Ready", "RollingBack", "RolledBack", "Failed"]
    ) -> Deployment | None:
        """For status."""
        found, made = self.served, self.workload
        if found is None:
            return None
        ready = sum(pod.ready for pod in self.obs.servers)
        if phase in ("Ready", "RolledBack") and made is not None:
            ready = made.status.get("availableReplicas", 0)
        template = applied.previous_of(found.annotations)
        before = names.model_of(template) if template is not None else {}
        return Deployment(
            phase=phase,
            kind=found.kind,
            name=found.name,
            endpoint=self.place,
            model_uri=found.annotations.get(names.ANNOTATION_MODEL_URI, "")[:1280],
            model_digest=found.annotations.get(names.ANNOTATION_MODEL_DIGEST, "")[:128],
            variant=_variant(found.annotations),
            previous=_model(before),
            replicas=Replicas(desired=self.desired, ready=ready),
        )

    def _wanted(self) -> list[dict[str, Any]]:
        """The last of them is what serves."""
        return self.room.others(self.obs.job, self.obs.settings)


def judge(rollout: Rollout) -> StageOutcome:
    """As `Stage.judge`: the first policy that has an answer decides."""
    if rollout.prior.over:
        return StageOutcome(rollout.prior)
    return next(outcome for policy in POLICIES if (outcome := policy(rollout)) is not None)


def went_back(rollout: Rollout) -> StageOutcome | None:
    """The end of a rollout that failed."""
    if not rollout.goes_back:
        return None
    found, prior, words = rollout.served, rollout.prior, rollout.prior.message
    if rollout.went_back:
        proven = found is not None and _proven(found)
        if found is not None and proven and rollout.is_same(found):
            words += "; no model was served before, and this one is left as it is"
            phase: Literal["Ready", "Failed"] = "Ready" if rollout.is_complete else "Failed"
            return _failed(rollout, words, rollout.told(phase))
        told = rollout.told("RolledBack" if proven else "Failed")
        back = told.words if told is not None and proven else ""
        words += f"; {back} is served again" if back else "; no model was served before"
        return _failed(rollout, words, told)
    if rollout.now < rollout.deadline or rollout.obs.job.spec.suspend:
        return StageOutcome(
            prior, deployment=rollout.told("RollingBack"), wake=rollout.until_deadline
        )
    blocker = rollout.blocker
    words += f"; going back failed, too: {blocker.message if blocker else 'nobody did it'}"
    return _failed(rollout, words, rollout.told("Failed"))


def suspended(rollout: Rollout) -> StageOutcome | None:
    """What has begun goes on in Kubernetes' hands, and is judged later."""
    if not rollout.obs.job.spec.suspend:
        return None
    words = "spec.suspend is set; the stage goes on when it is false"
    update = {"reason": "Suspended", "message": words, "waiting_since": None}
    return StageOutcome(rollout.prior.model_copy(update=update))


def impossible(rollout: Rollout) -> StageOutcome | None:
    """It cannot begin at all."""
    obs, prior = rollout.obs, rollout.prior
    denied = rollout.room.forbidden(obs.job, obs.settings)
    # Elsewhere the API server says so, and may yet be brought up to date.
    if denied is not None and REASONS[denied[0]].grace_seconds is None:
        return failed_for_good(prior, *denied, rollout.now)
    if rollout.by_hand:  # it needs no verdict
        words = _no_way_back(rollout)
        return failed_for_good(prior, _GOES_BACK, words, rollout.now) if words else None
    if what := accepted.unsaid(obs.job):
        return failed_for_good(prior, "ResultInvalid", what, rollout.now)
    if what := accepted.unavailable(obs.job, children.spec_of(obs.job).variant):
        return failed_for_good(prior, "VariantUnavailable", what, rollout.now)
    return None


def _no_way_back(rollout: Rollout) -> str:
    """Why it cannot go back by hand; "" when it can, or has."""
    found, kind = rollout.served, rollout.target.kind.name
    if found is None:
        return f"there is no {kind} any more"
    known = applied.previous_of(found.annotations) is not None
    return "" if known or rollout.went_back else f"the {kind} does not know the model before"


def begins(rollout: Rollout) -> StageOutcome | None:
    """What is to serve is not there yet, or not as it is wanted."""
    found, obs, prior, now = rollout.served, rollout.obs, rollout.prior, rollout.now
    if not (rollout.by_hand or accepted.digest_of(obs.job)):  # to be stored first
        return StageOutcome(prior.model_copy(update={"reason": "Starting"}))
    if found is not None and rollout.is_applied(found):
        return None
    if found is not None and prior.start_time is not None:
        # Another template, as of an operator that was brought up to date: it has all of its time.
        prior = prior.model_copy(update={"start_time": None, "cleared_time": now})
        rollout = replace(rollout, prior=prior)
    blocker = rollout.blocker
    if blocker is None:  # it is tried, however late
        update = {"reason": "Starting", "message": "", "waiting_since": None}
        return StageOutcome(prior.model_copy(update=update))
    since, until = _tolerated(rollout, blocker)
    if now >= min(until or rollout.deadline, rollout.deadline):
        return failed_for_good(prior, blocker.reason, blocker.message, now)
    wait: dict[str, object] = {
        "reason": blocker.reason,
        "message": blocker.with_remedy()[:2048],
        "waiting_since": since,
    }
    wake = min(until or rollout.deadline, rollout.deadline)
    return StageOutcome(prior.model_copy(update=wait), wake=wake)


def ready(rollout: Rollout) -> StageOutcome | None:
    """All pods have reproduced what was judged, and get the requests."""
    found = rollout.served
    if found is None or not rollout.is_complete or not _proven(found):
        return None
    told = rollout.told("RolledBack" if rollout.by_hand else "Ready")
    uri = rollout.place or found.annotations.get(names.ANNOTATION_MODEL_URI, "")
    result = StageResult(outputs=Outputs(uri=uri, digest=told.model_digest if told else ""))
    update = {
        "phase": "Succeeded",
        "reason": "Completed",
        "message": "",
        "waiting_since": None,
        "completion_time": rollout.now,
        "outputs": result.outputs,
    }
    stage = _running(rollout).model_copy(update=update)
    return StageOutcome(stage, result=result, deployment=told)


def fails(rollout: Rollout) -> StageOutcome | None:
    """Pods say why they will never be ready, or take too long: it goes back."""
    found, trouble = rollout.served, rollout.trouble
    if found is None:
        return None
    if rollout.is_complete:
        blocker = rollout.blocker
        if blocker is None or rollout.now < rollout.deadline:
            return None
        # All of its pods serve the model: there is nothing to go back from.
        ended = failed_for_good(rollout.prior, blocker.reason, blocker.message, rollout.now)
        return replace(ended, deployment=rollout.told("Ready"))
    if trouble is not None:
        _, until = _tolerated(rollout, trouble)
        crashed = _crashed(trouble)
        again = rollout.obs.settings.serves and trouble.failure_class not in _FINAL
        final = crashed and not again
        # What loads again may yet be ready: only the deadline ends that.
        over = until is not None and rollout.now >= until
        if final or (over and not (crashed and _runs_again(trouble))):
            return _back(rollout, f"{trouble.reason}: {trouble.message}")
    late = rollout.now >= rollout.deadline or _gave_up(found)
    if not late:
        return None
    why = f"{trouble.reason}: {trouble.message}" if trouble else _slowest(rollout)
    count = sum(pod.ready for pod in rollout.obs.servers)
    seconds = children.deadline_of(rollout.obs.job)
    what = f"{count} of {rollout.desired} pods were ready after {seconds} s"
    return _back(rollout, f"{what}; {why}")


def rolls(rollout: Rollout) -> StageOutcome:
    """It gets on."""
    stage = _running(rollout)
    # Once all pods are ready, what is left is to mark it so.
    trouble = rollout.blocker if rollout.is_complete else rollout.trouble
    wake = rollout.until_deadline
    update: dict[str, object] = {"waiting_since": None}
    if trouble is not None:
        since, until = _tolerated(rollout, trouble)
        update = {
            "reason": trouble.reason,
            "message": trouble.with_remedy()[:2048],
            "waiting_since": since,
        }
        if until is not None and rollout.now < until:
            wake = min(wake or until, until)
    stage = stage.model_copy(update=update)
    return StageOutcome(stage, deployment=rollout.told("RollingOut"), wake=wake)


POLICIES: tuple[Callable[[Rollout], StageOutcome | None], ...] = (
    went_back,
    suspended,
    impossible,
    begins,
    ready,
    fails,
    rolls,
)


def _running(rollout: Rollout) -> StageStatus:
    room, obs, desired = rollout.room, rollout.obs, rollout.desired
    count = sum(pod.ready for pod in obs.servers)
    message = "; ".join(filter(None, (f"{count} of {desired} pods are ready", rollout.words)))
    return rollout.prior.model_copy(
        update={
            "phase": "Running",
            "reason": "RollingOut",
            "message": message,
            "start_time": rollout.prior.start_time or rollout.now,
            "image": room.image_of(obs.job, obs.settings),
            "pods": PodCounts(desired=desired, ready=count),
        }
    )


def _back(rollout: Rollout, words: str) -> StageOutcome:
    if rollout.by_hand:  # and not forward again: the newer one serves until then
        return _failed(rollout, words, rollout.told("Failed"))
    update = {
        "reason": _GOES_BACK,
        "message": words[:1500],
        "waiting_since": rollout.now,
    }
    stage = _running(rollout).model_copy(update=update)
    return StageOutcome(stage, deployment=rollout.told("RollingBack"))


def _failed(rollout: Rollout, words: str, told: Deployment | None) -> StageOutcome:
    ended = failed_for_good(rollout.prior, _GOES_BACK, words, rollout.now)
    stage = ended.stage.model_copy(update={"waiting_since": None})
    return StageOutcome(stage, failure=ended.failure, deployment=told)


def _tolerated(rollout: Rollout, trouble: Failure) -> tuple[datetime, datetime | None]:
    """Since when it has been so, and until when that may last; None: the deadline ends it."""
    prior, now = rollout.prior, rollout.now
    since = prior.waiting_since if prior.reason == trouble.reason else None
    since = since or now
    grace = REASONS[trouble.reason].grace_seconds
    if _crashed(trouble):
        return since, since + _CRASHES
    return since, None if grace is None else since + timedelta(seconds=grace)


def _crashed(trouble: Failure) -> bool:
    """Whether a container failed that is started again, and not a pod as a whole, as when it is
    evicted: there is another in its place."""
    return trouble.pod is not None and trouble.pod.phase == "Failed" and not trouble.pod.pod_reason


def _runs_again(trouble: Failure) -> bool:
    """Whether the container that failed does not wait for its next start: it has been started, or
    will be this moment."""
    return trouble.pod is not None and not any(not wait.who for wait in trouble.pod.waits)


def _slowest(rollout: Rollout) -> str:
    pods = [pod for pod in rollout.obs.servers if not pod.ready]
    running = next((pod for pod in pods if pod.phase == "Running"), None)
    if running is not None:
        return f"pod {running.described} runs and is not ready; its log says what it does"
    return rollout.words or diagnose.slowest(pods)


def _gave_up(found: ChildView) -> bool:
    """Kubernetes has, by its own count of the same seconds."""
    return found.status.get("observedGeneration", 0) >= found.generation and any(
        (c.get("type"), c.get("status"), c.get("reason"))
        == ("Progressing", "False", "ProgressDeadlineExceeded")
        for c in found.status.get("conditions") or ()
    )


def _proven(found: ChildView) -> bool:
    return found.annotations.get(names.ANNOTATION_PROVEN) == _applied(found) != ""


def _applied(found: ChildView) -> str:
    return found.annotations.get(names.ANNOTATION_APPLIED, "")


def _stands(wanted: dict[str, Any], there: dict[tuple[str, str], ChildView]) -> bool:
    """Whether it is there, as it is wanted."""
    meta = wanted["metadata"]
    found = there.get((wanted["kind"], meta["name"]))
    # Those of others follow from what `applied` is the hash of.
    ours = {key: note for key, note in meta["annotations"].items() if key.startswith(f"{GROUP}/")}
    return found is not None and ours.items() <= found.annotations.items()


def _model(notes: dict[str, str]) -> ServedModel | None:
    if not notes:
        return None
    return ServedModel(
        model_uri=notes.get(names.ANNOTATION_MODEL_URI, "")[:1280],
        model_digest=notes.get(names.ANNOTATION_MODEL_DIGEST, "")[:128],
        variant=_variant(notes),
    )


def _variant(notes: Mapping[str, str]) -> str | None:
    return notes.get(names.ANNOTATION_MODEL_VARIANT, "")[:128] or None
