"""How the pods of a gang meet: rank 0 has an address, and nobody else gets in."""

from __future__ import annotations

import json
from typing import Any

from ...api.stages import StageName
from ...api.v1alpha1 import TrainingJob
from .. import names
from ..frameworks import Gang, torch
from ..kinds import NETWORK_POLICY, SERVICE

KINDS = (NETWORK_POLICY, SERVICE)


def network(
    job: TrainingJob, stage: StageName, nodes: int, *, named: bool = False
) -> list[dict[str, Any]]:
    """A gang of one pod needs nothing. Others have a NetworkPolicy by which none but the gang's
    pods get in, since whoever reaches a rank could join it, and a headless Service that selects
    rank 0 alone. In this order: no rank is found before it is shielded. ``named``: all its pods
    have addresses, by one more headless Service.
    """
    if nodes == 1:
        return []
    gang = {names.LABEL_JOB: job.metadata.name, names.LABEL_STAGE: stage}
    metadata = {
        "name": names.child_name(job, stage),
        "namespace": job.metadata.namespace,
        "labels": gang,
        "ownerReferences": [names.owner_reference(job)],
    }
    policy = {
        "podSelector": {"matchLabels": gang},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": gang}}]}],
    }
    service = {
        "clusterIP": "None",
        # The ranks must find each other before they are ready.
        "publishNotReadyAddresses": True,
        "selector": gang | {names.LABEL_INDEX: "0"},
        "ports": [{"name": "rendezvous", "port": torch.PORT}],
    }
    made: list[dict[str, Any]] = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": policy,
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]
    if named:
        peers = {"metadata": metadata | {"name": names.peers_name(job, stage)}}
        made.append(made[-1] | peers | {"spec": service | {"selector": gang}})
    # deepcopy would keep what they share.
    copied: list[dict[str, Any]] = json.loads(json.dumps(made))
    return copied


def gang_of(
    job: TrainingJob, stage: StageName, nodes: int, processes: int, attempt: int | None = None
) -> Gang:
    """The gang; with an ``attempt`` its pods have names below the Service that is theirs."""
    if nodes == 1:
        return Gang(nodes, processes)
    first = f"{names.child_name(job, stage)}.{job.metadata.namespace}.svc"
    if attempt is None:
        return Gang(nodes, processes, first)
    # Below the pod's own namespace, where it looks first.
    below = names.peers_name(job, stage)
    pods = [f"{names.hostname(job, stage, attempt, index)}.{below}" for index in range(nodes)]
    return Gang(nodes, processes, first, pods)
