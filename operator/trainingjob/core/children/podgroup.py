"""PodGroups of Kubernetes itself, by which its scheduler places all pods of a gang, or none.

https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/
"""

from __future__ import annotations

from typing import Any

from ...api.stages import StageName
from ...api.v1alpha1 import TrainingJob
from .. import names
from ..kinds import POD_GROUP
from ..observation import Settings


def wanted(
    job: TrainingJob, stage: StageName, nodes: int, settings: Settings
) -> list[dict[str, Any]]:
    """The group of a gang of so many pods, the same for each attempt; nothing for a single pod, or
    where the API server has no groups. Like a claim it is not watched."""
    if not is_grouped(nodes, settings):
        return []
    metadata = {
        "name": names.group_name(job, stage, nodes),
        "namespace": job.metadata.namespace,
        "labels": {names.LABEL_JOB: job.metadata.name, names.LABEL_STAGE: stage},
        "ownerReferences": [names.owner_reference(job)],
    }
    return [
        {
            "apiVersion": settings.pod_groups,
            "kind": POD_GROUP.name,
            "metadata": metadata,
            "spec": {"schedulingPolicy": {"gang": {"minCount": nodes}}},
        }
    ]


def is_grouped(nodes: int, settings: Settings) -> bool:
    """Whether a gang of so many pods has a group."""
    return nodes > 1 and bool(settings.pod_groups)
