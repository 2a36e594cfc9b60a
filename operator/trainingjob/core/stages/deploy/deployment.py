"""A Deployment of our server, a Service before it, and a budget when it has several pods."""

from __future__ import annotations

from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.deploy import ServerDeployment
from ... import names
from ...child import ChildView
from ...kinds import BUDGET, DEPLOYMENT, SERVICE
from ...observation import Observation, Settings
from . import children
from .children import PORT, PORT_NAME, Object


class DeploymentTarget:
    """As `Target`. On one machine it stands for whatever else would serve there."""

    kind = DEPLOYMENT

    def made(self, job: TrainingJob, settings: Settings, image: str) -> list[Object]:
        """As `Target.made`."""
        spec, selector = _spec_of(job), children.selector_of(job)
        port = {
            "name": PORT_NAME,
            "port": spec.port or PORT,
            "targetPort": PORT_NAME,
            "protocol": "TCP",
        }
        found = [children.made_object(job, SERVICE, {"selector": selector, "ports": [port]})]
        if (spec.replicas or 1) > 1:
            budget = {
                "maxUnavailable": 1,
                # A pod that is broken anyway must not hold up a drain.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": selector},
            }
            found.append(children.made_object(job, BUDGET, budget))
        rollout: Object = {
            "selector": {"matchLabels": selector},
            "strategy": children.STRATEGY,
            "progressDeadlineSeconds": children.deadline_of(job),
            "template": children.template(job, settings, image),
        }
        if spec.replicas is not None:
            rollout["replicas"] = spec.replicas
        made = children.made_object(job, DEPLOYMENT, rollout)
        made["metadata"]["annotations"] |= names.model_of(rollout["template"])
        return [*found, made]

    def at_once(self, job: TrainingJob) -> int:
        """As `Target.at_once`."""
        return _spec_of(job).replicas or 1

    def workload(self, obs: Observation, found: ChildView) -> ChildView | None:
        """The Deployment itself."""
        return found

    def answers(self, found: ChildView) -> bool:
        """The Service is there before it."""
        return True

    def endpoint(self, job: TrainingJob, found: ChildView | None) -> str:
        """As `Target.endpoint`."""
        name, port = children.name_of(job), _spec_of(job).port or PORT
        return f"http://{name}.{job.metadata.namespace}.svc:{port}/v2/models/{name}"

    def words(self, found: ChildView) -> str:
        """Its pods say what there is to say."""
        return ""


def _spec_of(job: TrainingJob) -> ServerDeployment:
    return children.spec_of(job).deployment or ServerDeployment.model_validate({})
