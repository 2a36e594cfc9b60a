"""What can be seen of a rollout at one moment, and what is to be applied then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ....api.v1alpha1 import GROUP, StageStatus
from ....api.v1alpha1.reasons import ReasonName
from ....api.v1alpha1.status import Deployment, Replicas, ServedModel
from ... import accepted, applied, conditions, diagnose, names
from ...child import ChildView, rollout_of
from ...diagnose import Failure
from ...observation import Observation
from . import children
from .target import Target

if TYPE_CHECKING:
    from . import DeployStage

GOES_BACK: ReasonName = "RolloutFailed"
# No other start of the same pod would mend these.
FINAL = ("configuration", "data", "verdict")
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
        return self.prior.phase == "Running" and self.prior.reason == GOES_BACK

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
        final = [failure for failure in failed if failure.failure_class in FINAL]
        crashed = sorted(filter(has_crashed, failed), key=runs_again)
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


def has_crashed(trouble: Failure) -> bool:
    """Whether a container failed that is started again, and not a pod as a whole, as when it is
    evicted: there is another in its place."""
    return trouble.pod is not None and trouble.pod.phase == "Failed" and not trouble.pod.pod_reason


def runs_again(trouble: Failure) -> bool:
    """Whether the container that failed does not wait for its next start: it has been started, or
    will be this moment."""
    return trouble.pod is not None and not any(not wait.who for wait in trouble.pod.waits)


def is_proven(found: ChildView) -> bool:
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
