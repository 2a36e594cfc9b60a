"""How the pods of a job meet: nobody else gets in, and rank 0 of a gang has an address."""

from __future__ import annotations

import copy
from typing import Any

from ...api.stages import StageName
from ...api.v1alpha1 import TrainingJob
from .. import names
from ..frameworks import Gang, torch
from ..kinds import NETWORK_POLICY, SERVICE

KINDS = (NETWORK_POLICY, SERVICE)


def shield(job: TrainingJob) -> dict[str, Any]:
    """A NetworkPolicy by which none but each other get in to the pods of the job's stages: whoever
    reaches a rank could join it. It names a label that nobody else may set (the chart's admission
    policies)."""
    ours = {
        "matchLabels": {names.LABEL_JOB: job.metadata.name},
        "matchExpressions": [{"key": names.LABEL_ATTEMPT, "operator": "Exists"}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(job, names.shield_name(job)),
        "spec": {
            "podSelector": ours,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": copy.deepcopy(ours)}]}],
        },
    }


def services(
    job: TrainingJob, stage: StageName, nodes: int, *, named: bool = False
) -> list[dict[str, Any]]:
    """A gang of one pod needs none. Others have a headless Service that selects rank 0 alone, or,
    ``named``, all pods, each of which has an address below it."""
    if nodes == 1:
        return []
    gang = {names.LABEL_JOB: job.metadata.name, names.LABEL_STAGE: stage}
    if named:
        return [_service(job, names.peers_name(job, stage), stage, gang)]
    return [_service(job, names.child_name(job, stage), stage, gang | {names.LABEL_INDEX: "0"})]


def _service(
    job: TrainingJob, name: str, stage: StageName, selector: dict[str, str]
) -> dict[str, Any]:
    metadata = _metadata(job, name)
    metadata["labels"][names.LABEL_STAGE] = stage
    spec = {
        "clusterIP": "None",
        # The ranks must find each other before they are ready.
        "publishNotReadyAddresses": True,
        "selector": selector,
        "ports": [{"name": "rendezvous", "port": torch.PORT}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _metadata(job: TrainingJob, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": {names.LABEL_JOB: job.metadata.name},
        "ownerReferences": [names.owner_reference(job)],
    }


def gang_of(
    job: TrainingJob, stage: StageName, nodes: int, processes: int, attempt: int | None = None
) -> Gang:
    """The gang; with an ``attempt`` its pods have names below the Service that is theirs."""
    if nodes == 1:
        return Gang(nodes, processes)
    here = f"{job.metadata.namespace}.svc"
    if attempt is None:
        return Gang(nodes, processes, f"{names.child_name(job, stage)}.{here}")
    # Below the pod's own namespace, where it looks first.
    below = names.peers_name(job, stage)
    pods = [f"{names.hostname(job, stage, attempt, index)}.{below}" for index in range(nodes)]
    return Gang(nodes, processes, f"{pods[0]}.{here}", pods)
