"""The kinds of objects that a job is made of, and where the API server has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of Kubernetes: its name, and where the API server has its objects. ``optional``: not
    every API server has them, and so nobody watches them."""

    api_version: str
    name: str
    plural: str
    optional: bool = False


POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
POD_GROUP = Kind("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups", optional=True)
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
