"""On which nodes a pod runs, and what of them its container gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...api.v1alpha1 import StageName, TrainingJob
from ...api.v1alpha1.common import PodTemplate
from .. import names

# Failures whose cause may well be the node.
_OF_NODES = ("NodeLost", "NodeRefused", "StartFailed", "ProcessKilled", "DiskFull")


def devices(template: PodTemplate, container: dict[str, Any]) -> None:
    """Give the container what the pod claims.
    https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/"""
    claims = [
        {"name": one.name} | ({"request": one.request} if one.request else {})
        for one in template.resource_claims or ()
    ]
    if claims:
        container["resources"] = container.get("resources", {}) | {"claims": claims}


def scheduling(template: PodTemplate, labels: Mapping[str, str]) -> dict[str, Any]:
    """What of the template is the pod's own, and neither a volume, nor its end, nor metadata.
    ``labels`` of the pod, of which those of job and stage say which pods are spread."""
    elsewhere = (
        "volumes",
        "volumeMounts",
        "terminationGracePeriodSeconds",
        "labels",
        "annotations",
        "scratch",
    )
    found = {key: value for key, value in template.to_dict().items() if key not in elsewhere}
    own = {key: labels[key] for key in (names.LABEL_JOB, names.LABEL_STAGE)}
    if names.LABEL_ROLE in labels:
        own[names.LABEL_ROLE] = labels[names.LABEL_ROLE]
    for spread in found.get("topologySpreadConstraints", ()):
        spread.setdefault("labelSelector", {"matchLabels": own})
    for claim in found.get("resourceClaims", ()):
        claim.pop("request", None)  # the container's
    return found


def bad_nodes(job: TrainingJob, stage: StageName) -> list[str]:
    """Nodes that earlier attempts of the stage were lost with."""
    past = job.status.history
    return sorted({p.node for p in past if p.stage == stage and p.node and p.reason in _OF_NODES})


def avoiding(spec: dict[str, Any], nodes: Sequence[str]) -> dict[str, Any]:
    """A pod's scheduling that prefers other nodes; it has these if there are none."""
    if not nodes:
        return spec
    # By name: a node's label of the host's name may be another one. A field takes one value.
    others = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    term = {"weight": 100, "preference": {"matchFields": others}}
    affinity = spec.get("affinity", {})
    of_nodes = affinity.get("nodeAffinity", {})
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    of_nodes = of_nodes | {preferred: [*of_nodes.get(preferred, ()), term]}
    return spec | {"affinity": affinity | {"nodeAffinity": of_nodes}}
