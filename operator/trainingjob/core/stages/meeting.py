"""How the pods of a gang meet: rank 0 has an address, and nobody else gets in."""

from __future__ import annotations

import json
from typing import Any

from ...api.stages import StageName
from ...api.v1alpha1 import TrainingJob
from .. import names
from ..kinds import NETWORK_POLICY, SERVICE

KINDS = (NETWORK_POLICY, SERVICE)
# torch.distributed's own default.
MASTER_PORT = 29500


def network(job: TrainingJob, stage: StageName, nodes: int) -> list[dict[str, Any]]:
    """A gang of one pod needs nothing. Others have a NetworkPolicy by which none but the gang's
    pods get in, since whoever reaches a rank could join it, and a headless Service that selects
    rank 0 alone. In this order: no rank is found before it is shielded.
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
        "ports": [{"name": "rendezvous", "port": MASTER_PORT}],
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
    # deepcopy would keep what they share.
    copied: list[dict[str, Any]] = json.loads(json.dumps(made))
    return copied


def variables(
    job: TrainingJob, stage: StageName, nodes: int, processes: int, index: int
) -> dict[str, str]:
    """What torch.distributed reads, of pod ``index``, which has so many ``processes``."""
    address = "127.0.0.1"
    if nodes > 1:
        address = f"{names.child_name(job, stage)}.{job.metadata.namespace}.svc"
    found = {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(MASTER_PORT),
        "WORLD_SIZE": str(nodes * processes),
        "NODE_RANK": str(index),
    }
    if processes == 1:
        found |= {"RANK": str(index), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    return found
