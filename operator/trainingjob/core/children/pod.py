"""What the pods of all stages have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...api import payload as contract
from ...api.base import Plain
from ...api.uris import CLAIM, HDFS, Uri, is_remote
from ...api.v1alpha1 import StageName, TrainingJob
from ...api.v1alpha1.common import (
    SCRATCH_LIMIT,
    EnvFrom,
    EnvVar,
    PodTemplate,
    Resources,
    Scratch,
    amount,
)
from .. import names
from ..observation import Settings

# A pod of an attempt, by its index.
Maker = Callable[[int], dict[str, Any]]

CLAIMS_DIR = "/mnt/claims"
COPIES_DIR = "/tmp/trainingjob-copies"  # noqa: S108 - a volume of the pod's own
HADOOP_DIR = "/etc/trainingjob/hadoop"
KEYTAB_DIR = "/etc/trainingjob/keytab"
STATUS_DIR = "/etc/trainingjob/status"
# OpenMP reads it, and so do torch, numpy and ours.
_THREADS = "OMP_NUM_THREADS"
RUNTIME = ["python", "-m", "trainingjob.runtime"]
_GRACE_SECONDS = 30
# Failures whose cause may well be the node.
_OF_NODES = ("NodeLost", "NodeRefused", "StartFailed", "ProcessKilled", "DiskFull")
# The group of our images' user.
_GROUP = 65532
# The kubelet renews a token when four fifths of its time are over.
_TOKEN_SECONDS = 3600


@dataclass(frozen=True)
class Mapped:
    """A ConfigMap with the user's code, mounted at ``folder``; ``variable`` has ``path``."""

    name: str
    folder: str
    source: dict[str, Any]
    variable: str
    path: str


def pod(
    job: TrainingJob,
    stage: StageName,
    attempt: int,
    settings: Settings,
    index: int,
    *,
    image: str,
    payload: str,
    env: Sequence[dict[str, Any]] = (),
    user_env: Sequence[EnvVar] | None = None,
    env_from: Sequence[EnvFrom] | None = None,
    uris: Sequence[str],
    config_maps: Sequence[Mapped | None] = (),
    resources: Resources | None = None,
    template: PodTemplate | None = None,
    command: Sequence[str] = RUNTIME,
    args: Sequence[str] = (),
    service_account: str | None = None,
    shared_memory: bool = False,
    subdomain: str | None = None,
) -> dict[str, Any]:
    """A pod of one container, as the restricted Pod Security Standard wants it.

    The user's fragments come first and ours last, so that nothing of theirs undoes our security.
    Without ``service_account`` the pod has no API token. ``subdomain``: the headless Service below
    which the pod has a name. ``uris`` are those of its data, and
    ``payload`` is encoded, the same text for all.
    """
    template = template or PodTemplate()
    mapped = [one for one in config_maps if one is not None]
    volumes, mounts = storage(
        template, claims_of(*uris), resources, mapped, shared_memory=shared_memory
    )
    environment = literal(user_env)
    environment += [
        {"name": contract.CLAIMS_DIR, "value": CLAIMS_DIR},
        {"name": contract.RESULT_FILE, "value": "/dev/termination-log"},
    ]
    if any(map(is_remote, uris)):
        environment.append({"name": contract.COPIES_DIR, "value": COPIES_DIR})
    reach_hdfs(job, uris, environment, volumes, mounts)
    environment += [{"name": one.variable, "value": one.path} for one in mapped]
    annotations = {
        **(template.annotations or {}),
        names.ANNOTATION_CONTAINER: stage,
        names.ANNOTATION_TEMPLATE: digest_of(template),
    }
    if settings.status_url:
        path = f"{job.metadata.namespace}/{job.metadata.name}/{stage}/{attempt}/{index}"
        environment += _status_env(f"{settings.status_url}/{path}", settings)
    if settings.status_ca:
        annotations[names.ANNOTATION_STATUS_CA] = settings.status_ca
        volumes.append(_status_volume())
        mounts.append({"name": "trainingjob-status", "mountPath": STATUS_DIR, "readOnly": True})
    environment += env
    environment.append({"name": contract.STAGE_PAYLOAD, "value": payload})

    container: dict[str, Any] = {
        "name": stage,
        "image": image,
        "command": [*command],
        "env": environment,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(),
    }
    if args:
        container["args"] = [*args]
    if env_from:
        container["envFrom"] = [source.to_dict() for source in env_from]
    if resources is not None:
        container["resources"] = resources.to_dict()
    devices(template, container)
    labels = names.labels(job, stage, attempt, index)
    spec = avoiding(scheduling(template, labels), _bad_nodes(job, stage)) | {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds
        or _GRACE_SECONDS,
        "automountServiceAccountToken": service_account is not None,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if service_account is not None:
        spec["serviceAccountName"] = service_account
    if subdomain is not None:
        spec["hostname"] = names.hostname(job, stage, attempt, index)
        spec["subdomain"] = subdomain
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names.pod_name(job, stage, attempt, index),
            "namespace": job.metadata.namespace,
            "labels": {**(template.labels or {}), **labels},
            "annotations": annotations,
            "ownerReferences": [names.owner_reference(job)],
        },
        "spec": spec,
    }


def digest_of(template: PodTemplate | None) -> str:
    """By which a pod is known to be of this template, and none is that of an empty one."""
    text = json.dumps((template or PodTemplate()).to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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


def _status_env(url: str, settings: Settings) -> list[dict[str, str]]:
    found = {
        contract.STATUS_URL: url,
        contract.KUBEFLOW_URL: f"$({contract.STATUS_URL})",
        contract.STATUS_TOKEN: f"{STATUS_DIR}/token",
    }
    if settings.status_ca:
        found[contract.STATUS_CA] = f"{STATUS_DIR}/ca.crt"
    return named(found)


def _status_volume() -> dict[str, Any]:
    """Who the pod is, in a token that the API server does not take, and whom it can trust."""
    token = {
        "audience": names.STATUS_AUDIENCE,
        "expirationSeconds": _TOKEN_SECONDS,
        "path": "token",
    }
    field = {"fieldPath": f"metadata.annotations['{names.ANNOTATION_STATUS_CA}']"}
    certificate = {"items": [{"path": "ca.crt", "fieldRef": field}]}
    sources = [{"serviceAccountToken": token}, {"downwardAPI": certificate}]
    return {"name": "trainingjob-status", "projected": {"sources": sources}}


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


def _bad_nodes(job: TrainingJob, stage: StageName) -> list[str]:
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


def own_address() -> dict[str, Any]:
    """A variable with the pod's address, which it has once it is on a node."""
    return {"name": contract.POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def threads_of(resources: Resources | None, processes: int = 1) -> int | None:
    """Threads a process, of the CPUs that the pod asks for; None when it asks for none."""
    if resources is None:
        return None
    cpu = (resources.requests or {}).get("cpu", (resources.limits or {}).get("cpu"))
    if cpu is None:
        return None
    return max(1, int(amount(cpu)) // processes)


def named(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """As a container has them."""
    return [{"name": name, "value": value} for name, value in variables.items()]


def threads(
    resources: Resources | None, env: Sequence[EnvVar] | None, processes: int = 1
) -> dict[str, str]:
    """The variable that says so to libraries; none where the user gives it, or nobody asks for
    CPUs."""
    count = threads_of(resources, processes)
    given = any(variable.name == _THREADS for variable in env or ())
    return {} if given or count is None else {_THREADS: str(count)}


def pod_security() -> dict[str, Any]:
    """Of a pod, as the restricted Pod Security Standard wants it.

    The group lets users other than root write to the claims, whoever a pod's image makes it run
    as; it is given to a volume once, and not file by file at every start.
    """
    return {
        "runAsNonRoot": True,
        "fsGroup": _GROUP,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Of a container, as the restricted Pod Security Standard wants it."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def job_ref(job: TrainingJob, stage: StageName) -> contract.JobRef:
    """Which run this is. A stage that is run again has another uid than before: it starts over,
    and does not go on from the checkpoints that are there."""
    meta = job.metadata
    first = next((s.first_attempt for s in job.status.stages if s.name == stage), None)
    uid = meta.uid if first is None else f"{meta.uid}-{first}"
    return contract.JobRef(namespace=meta.namespace, name=meta.name, uid=uid)


def claims_of(*uris: str) -> list[str]:
    """The claims that these URIs lie on."""
    found = map(Uri.parse, uris)
    return [uri.authority for uri in found if uri.scheme is CLAIM]


def mounted(uri: str) -> str:
    """The path of a URI as plain environment variables tell it; the kubelet expands it."""
    found = Uri.parse(uri)
    if found.scheme.remote:
        return f"$({contract.COPIES_DIR})/{escape(found.copy)}"
    if found.scheme is CLAIM:
        return f"$({contract.CLAIMS_DIR})/{escape(found.place)}"
    return escape(found.place)


def handed_over(job: TrainingJob) -> dict[str, str]:
    """What the stages before have left, by its digest, as variables; what nobody has told is not
    among them."""
    places = {
        contract.DATASET_DIGEST: names.dataset_uri(job),
        contract.MODEL_DIGEST: names.model_uri(job),
    }
    left = {
        one.outputs.uri: one.outputs.digest
        for one in job.status.stages
        if one.phase == "Succeeded" and one.outputs is not None
    }
    return {name: digest for name, uri in places.items() if (digest := left.get(uri))}


def escape(text: str) -> str:
    """Text that survives the kubelet's expansion of ``$(NAME)`` as it stands."""
    return text.replace("$", "$$")


def literal(env: Sequence[EnvVar] | None) -> list[dict[str, Any]]:
    """The user's variables as they stand: values that name each other thousands of times would
    take all memory of the kubelet, which puts them together."""
    return [{**variable.to_dict(), "value": escape(variable.value)} for variable in env or ()]


def encoded(payload: Plain) -> str:
    """What an attempt's pods are told, as the variable of one has it."""
    text = escape(json.dumps(payload.to_dict(), ensure_ascii=False, separators=(",", ":")))
    for field, name in (("script", contract.SCRIPT_FILE), ("code", contract.CODE_FILES)):
        # The reference that is meant. Else such a name may be anybody's, of any length.
        if getattr(getattr(payload, field, None), "path", None) == f"$({name})":
            text = text.replace(f"$$({name})", f"$({name})")
    return text
