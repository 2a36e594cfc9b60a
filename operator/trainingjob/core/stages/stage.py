"""What everybody asks of a stage: the fold, the plan, the cluster and the command line.

Each stage has a room, a folder beside this file, and nobody else knows its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from ...api.stages import Activity, StageName
from ...api.v1alpha1 import StageStatus, TrainingJob
from ...api.v1alpha1.reasons import ReasonName
from ...api.v1alpha1.status import Deployment
from ..kinds import Kind
from ..observation import ImageName, Observation, Settings
from .outcome import StageOutcome


class Stage(ABC):
    """A room. What it does not answer itself is answered as for a stage without pods; one that is N
    pods is a `pods.PodStage`."""

    # Of its part of the spec, of its status, and in the names of its children.
    name: ClassVar[StageName]
    # What the job is called while the stage works.
    phase: ClassVar[Activity]
    # Which of the operator's images it runs when the manifest names none.
    image: ClassVar[ImageName]
    # Of its children beside pods.
    kinds: ClassVar[Sequence[Kind]] = ()
    # These have names of their own, may outlive the job, and are brought up to date.
    standing: ClassVar[bool] = False
    # The operator has rights to them only where its settings say so.
    optional: ClassVar[bool] = False
    # It has a deadline of its own: policy.activeDeadlineSeconds does not end it.
    timed: ClassVar[bool] = False
    # Its model was accepted before: what to do about that is told, and not how one is made.
    of_accepted: ClassVar[bool] = False
    # It says whether the model is accepted.
    judges: ClassVar[bool] = False
    # Its pods may read a test split that is sealed.
    unseals: ClassVar[bool] = False
    # A later attempt goes on from a checkpoint, and policy.stall watches over it.
    resumable: ClassVar[bool] = False
    # Its first pod may make further ones itself, as a Spark driver does.
    drives: ClassVar[bool] = False

    @abstractmethod
    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        """The stage after what the observation shows. ``since`` is when its turn came.

        Pending: children are missing, or wait for an attempt to be cleared away. Running: all
        children of the attempt exist, or have existed. Succeeded, Failed: final.
        """

    @abstractmethod
    def output_uri(self, job: TrainingJob) -> str:
        """Where it leaves what it has made."""

    def conclude(
        self,
        obs: Observation,
        outcome: StageOutcome,
        before: Sequence[StageStatus],
        now: datetime,
    ) -> StageOutcome:
        """What its result means for the job, after the stages ``before`` it."""
        return outcome

    def present(self, job: TrainingJob) -> bool:
        """Whether the job has the stage."""
        return self.spec_of(job) is not None

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        """Children that are no pods, in the order in which they are to be made: before the pods."""
        return []

    def missing(self, obs: Observation) -> list[dict[str, Any]]:
        """Those of them that are not there, or not any more, or not as they should be."""
        made = {(child.kind, child.name) for child in obs.children}
        wanted = self.others(obs.job, obs.settings)
        return [child for child in wanted if (child["kind"], child["metadata"]["name"]) not in made]

    def deployed(self, obs: Observation) -> Deployment | None:
        """What serves a model already, until the stage begins to change it."""
        return None

    def forbidden(self, job: TrainingJob, settings: Settings) -> tuple[ReasonName, str] | None:
        """Why the operator cannot have its children, as a reason and in words; None when it can."""
        return None

    def replicas(self, job: TrainingJob) -> int:
        """How many pods the operator makes."""
        return 0

    def at_once(self, job: TrainingJob) -> int:
        """How many pods use the storage at a time."""
        return self.replicas(job) + self.executors(job)

    def waits(self, job: TrainingJob) -> bool:
        """Whether its pods are held back until status has what they are to be told."""
        return False

    def pods(
        self,
        job: TrainingJob,
        attempt: int,
        settings: Settings,
        indexes: Iterable[int] | None = None,
    ) -> list[dict[str, Any]]:
        """The pods of one attempt, or those with these indexes: a fresh tree at each call."""
        return []

    def executors(self, job: TrainingJob) -> int:
        """How many pods its first pod is to make itself."""
        return 0

    def image_of(self, job: TrainingJob, settings: Settings) -> str:
        """The image that the stage runs."""
        return str(self.spec_of(job).image or settings.images[self.image])

    def uses_our_runtime(self, job: TrainingJob) -> bool:
        """Whether its pods run our runtime, which reports a result."""
        return False

    def not_cached(self, job: TrainingJob) -> str | None:
        """Why it is computed although the policy has a cache; None when it may be restored, or
        never is."""
        return None

    def reads(self, job: TrainingJob) -> list[str]:
        """URIs that it reads and that no stage before it has written."""
        return []

    def starts_over(self, old: TrainingJob, new: TrainingJob) -> bool:
        """Whether it cannot go on from the checkpoints that it wrote before the edit."""
        return False

    def spec_of(self, job: TrainingJob) -> Any:
        """Its part of the manifest."""
        return getattr(job.spec, self.name)
