"""The kinds of objects that a job is made of, and where the API server has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind: its name, and where the API server has its objects. ``optional``: not every API
    server has them, and so nobody watches them."""

    api_version: str
    name: str
    plural: str
    optional: bool = False

    @property
    def group(self) -> str:
        """Its API group; "" is that of the core."""
        return self.api_version.rpartition("/")[0]


POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
INFERENCE_SERVICE = Kind(
    "serving.kserve.io/v1beta1", "InferenceService", "inferenceservices", optional=True
)
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
# What serves a model, by pods that its own controller makes.
SERVERS = (DEPLOYMENT, INFERENCE_SERVICE)
POD_GROUP = Kind("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups", optional=True)
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
