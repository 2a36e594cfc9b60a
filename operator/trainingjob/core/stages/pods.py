"""A stage that is N pods: a gang, which succeeds and fails as one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from ...api.v1alpha1 import StageStatus, TrainingJob
from .. import names
from ..children import cache, podgroup
from ..children.pod import Maker
from ..kinds import NETWORK_POLICY, Kind
from ..observation import Observation, Settings
from . import meeting
from .judge import judge
from .outcome import StageOutcome
from .stage import Stage


class PodStage(Stage):
    """One pod that runs our runtime, unless the room says otherwise."""

    kinds: ClassVar[Sequence[Kind]] = (NETWORK_POLICY,)
    # Equal inputs give equal results, which may come from the cache.
    cacheable: ClassVar[bool] = True

    @abstractmethod
    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        """Prepares what all pods of an attempt have in common, and makes one of them."""

    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        """By the first policy that has an answer."""
        return judge(self, obs, prior, since, now)

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        """What its pods stand behind; the same for all stages of the job."""
        return [meeting.shield(job)]

    def replicas(self, job: TrainingJob) -> int:
        """One."""
        return 1

    def pods(
        self,
        job: TrainingJob,
        attempt: int,
        settings: Settings,
        indexes: Iterable[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Of the room's maker."""
        make = self.maker(job, attempt, settings)
        wanted = range(self.replicas(job)) if indexes is None else indexes
        made = [make(index) for index in wanted]
        nodes = self.replicas(job)
        if podgroup.is_grouped(nodes, settings):
            group = {"podGroupName": names.group_name(job, self.name, nodes)}
            for pod in made:
                pod["spec"]["schedulingGroup"] = group
        return made

    def uses_our_runtime(self, job: TrainingJob) -> bool:
        """It does."""
        return True

    def not_cached(self, job: TrainingJob) -> str | None:
        """As the cache has it."""
        if not job.spec.policy.cache or not self.cacheable:
            return None
        if not self.uses_our_runtime(job):
            return "its image runs as it stands"
        return cache.obstruction(job, self.name, self.spec_of(job))
