"""What a pod mounts: the user's volumes and ours, none of them without a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api import payload as contract
from ...api.uris import CLAIM, HDFS, Uri
from ...api.v1alpha1 import TrainingJob
from ...api.v1alpha1.common import PodTemplate
from ...api.v1alpha1.resources import Resources
from ...api.v1alpha1.volumes import SCRATCH_LIMIT, Scratch
from .. import names

CLAIMS_DIR = "/mnt/claims"
COPIES_DIR = "/tmp/trainingjob-copies"  # noqa: S108 - a volume of the pod's own
HADOOP_DIR = "/etc/trainingjob/hadoop"
KEYTAB_DIR = "/etc/trainingjob/keytab"


@dataclass(frozen=True)
class Mapped:
    """A ConfigMap with the user's code, mounted at ``folder``; ``variable`` has ``path``."""

    name: str
    folder: str
    source: dict[str, Any]
    variable: str
    path: str


def reach_hdfs(
    job: TrainingJob,
    uris: Sequence[str],
    environment: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
) -> None:
    """Hadoop's settings as its own programs find them, where some data lies there."""
    if not any(Uri.parse(uri).scheme is HDFS for uri in uris):
        return
    hdfs = job.spec.storage.hdfs
    if hdfs is not None and hdfs.config_map is not None:
        name = "trainingjob-hadoop"
        volumes.append({"name": name, "configMap": {"name": hdfs.config_map.name}})
        mounts.append({"name": name, "mountPath": HADOOP_DIR, "readOnly": True})
        environment.append({"name": contract.HADOOP_CONF_DIR, "value": HADOOP_DIR})
    if hdfs is not None and hdfs.user is not None:
        environment.append({"name": contract.HADOOP_USER_NAME, "value": hdfs.user})
    if hdfs is not None and hdfs.kerberos is not None:
        name, secret = "trainingjob-keytab", hdfs.kerberos.keytab_secret
        items = [{"key": secret.key, "path": "keytab"}]
        source = {"secretName": secret.name, "items": items, "defaultMode": 0o400}
        volumes.append({"name": name, "secret": source})
        mounts.append({"name": name, "mountPath": KEYTAB_DIR, "readOnly": True})
        environment += [
            {"name": contract.KRB5_CONFIG, "value": f"{HADOOP_DIR}/krb5.conf"},
            {"name": contract.KEYTAB, "value": f"{KEYTAB_DIR}/keytab"},
            {"name": contract.PRINCIPAL, "value": hdfs.kerberos.principal},
        ]


def storage(
    template: PodTemplate,
    claims: Sequence[str],
    resources: Resources | None = None,
    config_maps: Sequence[Mapped] = (),
    *,
    shared_memory: bool = False,
    scratch: str = names.SCRATCH_VOLUME,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts: the user's first, then ours, none of them without a bound.
    ``resources``: of the container. ``scratch``: name of the one at /tmp."""
    limits = (resources and resources.limits) or {}
    fragments = template.to_dict()
    volumes: list[dict[str, Any]] = [_volume(one) for one in fragments.get("volumes", ())]
    mounts: list[dict[str, Any]] = list(fragments.get("volumeMounts", ()))
    for number, claim in enumerate(dict.fromkeys(claims)):
        name = f"trainingjob-claim-{number}"
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": name, "mountPath": f"{CLAIMS_DIR}/{claim}"})
    for one in config_maps:
        volumes.append({"name": one.name, "configMap": one.source})
        mounts.append({"name": one.name, "mountPath": one.folder, "readOnly": True})
    # The root file system is read-only.
    volumes.append({"name": scratch, **_disk(template.scratch, limits)})
    mounts.append({"name": scratch, "mountPath": "/tmp"})  # noqa: S108
    if shared_memory:
        # The default of 64 MiB is too little for the ranks of one pod.
        bound = {"medium": "Memory", "sizeLimit": str(limits.get("memory", SCRATCH_LIMIT))}
        volumes.append({"name": "trainingjob-shm", "emptyDir": bound})
        mounts.append({"name": "trainingjob-shm", "mountPath": "/dev/shm"})  # noqa: S108
    return volumes, mounts


def _disk(scratch: Scratch | None, limits: Mapping[str, Any]) -> dict[str, Any]:
    """A volume of its class that lives and dies with the pod, else a bounded share of the node's
    disk. https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/"""
    if scratch is None:
        return {"emptyDir": {"sizeLimit": str(limits.get("ephemeral-storage", SCRATCH_LIMIT))}}
    if scratch.storage_class_name is None:
        return {"emptyDir": {"sizeLimit": str(scratch.size)}}
    return _ephemeral(scratch.to_dict())


def _volume(fragment: dict[str, Any]) -> dict[str, Any]:
    """The user's, as a pod has it."""
    if "ephemeral" not in fragment:
        return fragment
    return {"name": fragment["name"], **_ephemeral(fragment["ephemeral"])}


def _ephemeral(disk: dict[str, Any]) -> dict[str, Any]:
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(disk["size"])}},
    }
    if "storageClassName" in disk:
        claim["storageClassName"] = disk["storageClassName"]
    return {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def claims_of(*uris: str) -> list[str]:
    """The claims that these URIs lie on."""
    found = map(Uri.parse, uris)
    return [uri.authority for uri in found if uri.scheme is CLAIM]
