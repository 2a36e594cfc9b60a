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
        stored = next((s for s in obs.job.status.stages if s.name == self.name), None)
        prior = stored or StageStatus(name=self.name)
        return Rollout(self, obs, prior).missing()

    def deployed(self, obs: Observation) -> Deployment | None:
        return Rollout(self, obs, StageStatus(name=self.name)).found()

    def at_once(self, job: TrainingJob) -> int:
        # A new one is made before an old one goes, and the next run's stages come beside them.
        return (children.spec_of(job).deployment.replicas or 1) + 1
