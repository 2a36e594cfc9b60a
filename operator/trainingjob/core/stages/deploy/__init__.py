"""Serves the model that passed: no pods of ours, but what makes them, and may outlive the job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ....api.v1alpha1 import StageStatus, TrainingJob
from ....api.v1alpha1.reasons import ReasonName
from ....api.v1alpha1.status import Deployment
from ...kinds import BUDGET, DEPLOYMENT, INFERENCE_SERVICE, REPLICA_SET, SERVICE
from ...observation import Observation, Settings
from ..outcome import StageOutcome
from ..stage import Stage
from . import children
from .deployment import DeploymentTarget
from .inference import InferenceServiceTarget
from .judge import judge
from .rollout import Rollout
from .target import Target

_DEPLOYMENT = DeploymentTarget()
# By the fields of spec.deploy of which one is set.
_TARGETS: dict[str, Target] = {"deployment": _DEPLOYMENT, "kserve": InferenceServiceTarget()}
_OFF = "this operator was started without --deploy"
_KSERVE_OFF = "this operator was started without --kserve"


class DeployStage(Stage):
    """The room of `spec.deploy`."""

    name = "deploy"
    phase = "Deploying"
    image = "torch"
    kinds = (SERVICE, BUDGET, DEPLOYMENT, REPLICA_SET, INFERENCE_SERVICE)
    standing = True
    optional = True
    timed = True

    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        """By what serves, and by what its pods say when they do not become ready."""
        return judge(Rollout(self, obs, prior, since, now))

    def output_uri(self, job: TrainingJob) -> str:
        return self.target(job, Settings()).endpoint(job, None)

    def image_of(self, job: TrainingJob, settings: Settings) -> str:
        return str(children.spec_of(job).server.image or settings.images[self.image])

    def target(self, job: TrainingJob, settings: Settings) -> Target:
        """By what kind of object it serves. On one machine nothing serves, and a model proves
        itself in the same way whatever would."""
        spec = children.spec_of(job)
        found = (target for name, target in _TARGETS.items() if getattr(spec, name) is not None)
        return next(found) if settings.serves else _DEPLOYMENT

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        return self.target(job, settings).made(job, settings, self.image_of(job, settings))

    def forbidden(self, job: TrainingJob, settings: Settings) -> tuple[ReasonName, str] | None:
        if not settings.deploys:
            return "OperatorForbidden", f"spec.{self.name}: {_OFF}"
        if not self.target(job, settings).kind.optional or settings.kserve == "there":
            return None
        if settings.kserve == "off":
            return "OperatorForbidden", f"spec.{self.name}.kserve: {_KSERVE_OFF}"
        return "KServeMissing", f"the API server has no {INFERENCE_SERVICE.plural} of KServe"

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
        return self.target(job, Settings()).at_once(job) + 1
