"""A stage that is no gang of pods: it has succeeded when its Deployment is ready."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ....api.payload import StageResult
from ....api.v1alpha1 import StageStatus, TrainingJob
from ....api.v1alpha1.reported import Outputs
from ... import names
from ...kinds import Kind
from ...observation import Observation, Settings
from ..outcome import StageOutcome, failed_for_good
from ..stage import Stage

DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")


class PublishStage(Stage):
    """The room of `spec.publish`."""

    name = "publish"
    phase = "Publishing"
    image = "torch"
    kinds = (DEPLOYMENT,)

    def output_uri(self, job: TrainingJob) -> str:
        return names.model_uri(job)

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        container = {"name": self.name, "image": self.image_of(job, settings)}
        return [
            {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.name,
                "metadata": {
                    "name": names.child_name(job, self.name),
                    "namespace": job.metadata.namespace,
                    "labels": {names.LABEL_JOB: job.metadata.name},
                    "ownerReferences": [names.owner_reference(job)],
                },
                "spec": {"template": {"spec": {"containers": [container]}}},
            }
        ]

    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        if prior.over:
            return StageOutcome(prior)
        name = names.child_name(obs.job, self.name)
        made = next((c for c in obs.children if (c.kind, c.name) == (DEPLOYMENT.name, name)), None)
        if made is None:
            return StageOutcome(prior.model_copy(update={"reason": "Starting"}))
        update = {"phase": "Running", "reason": "RollingOut", "start_time": prior.start_time or now}
        stage = prior.model_copy(update=update)
        for condition in made.status.get("conditions", ()):
            if (condition["type"], condition["status"]) == ("Progressing", "False"):
                return failed_for_good(stage, "StartFailed", condition["message"], now)
        if not made.status.get("readyReplicas"):
            return StageOutcome(stage)
        result = StageResult(outputs=Outputs(uri=self.output_uri(obs.job)))
        done = {"phase": "Succeeded", "reason": "Completed", "completion_time": now}
        stage = stage.model_copy(update=done | {"outputs": result.outputs})
        return StageOutcome(stage, result=result)
