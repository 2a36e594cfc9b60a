"""Serves the model that passed: no pods of ours, but a Deployment, which may outlive the job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ....api.v1alpha1 import StageStatus, TrainingJob
from ....api.v1alpha1.status import Deployment
from ...kinds import BUDGET, DEPLOYMENT, REPLICA_SET, SERVICE
from ...observation import Observation, Settings
from ..outcome import StageOutcome
from ..stage import Stage
from . import children
from .rollout import Rollout, judge

_OFF = "this operator was started without --deploy"


class DeployStage(Stage):
    """The room of `spec.deploy`."""

    name = "deploy"
    phase = "Deploying"
    image = "torch"
    kinds = (SERVICE, BUDGET, DEPLOYMENT, REPLICA_SET)
    standing = True
    optional = True
    timed = True

    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        """By the Deployment, and by what its pods say when they do not become ready."""
        return judge(Rollout(self, obs, prior, since, now))

    def output_uri(self, job: TrainingJob) -> str:
        return children.endpoint_of(job)

    def image_of(self, job: TrainingJob, settings: Settings) -> str:
        return str(children.spec_of(job).deployment.image or settings.images[self.image])

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        return children.made(job, settings, self.image_of(job, settings))

    def forbidden(self, settings: Settings) -> str | None:
        return None if settings.deploys else f"spec.{self.name}: {_OFF}"

    def missing(self, obs: Observation) -> list[dict[str, Any]]:
        return Rollout(self, obs, self._stored(obs)).missing()

    def deployed(self, obs: Observation) -> Deployment | None:
        prior = self._stored(obs)
        begun = prior.start_time is not None or prior.over
        return None if begun else Rollout(self, obs, prior).found()

    def _stored(self, obs: Observation) -> StageStatus:
        found = (stage for stage in obs.job.status.stages if stage.name == self.name)
        return next(found, StageStatus(name=self.name))

    def at_once(self, job: TrainingJob) -> int:
        # A new one is made before an old one goes, and the next run's stages come beside them.
        return (children.spec_of(job).deployment.replicas or 1) + 1
