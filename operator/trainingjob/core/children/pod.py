"""What the pods of all stages have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from ...api import payload as contract
from ...api.uris import is_remote
from ...api.v1alpha1 import StageName, TrainingJob
from ...api.v1alpha1.common import EnvFrom, EnvVar, PodTemplate
from ...api.v1alpha1.resources import Resources
from .. import names
from ..observation import Settings
from .container import RUNTIME, container_security, pod_security
from .environment import literal, named
from .fetching import CODE_LIMIT, Fetched, fetching
from .placing import avoiding, bad_nodes, devices, scheduling
from .volumes import CLAIMS_DIR, COPIES_DIR, Mapped, claims_of, reach_hdfs, storage

# A pod of an attempt, by its index.
Maker = Callable[[int], dict[str, Any]]

STATUS_DIR = "/etc/trainingjob/status"
_GRACE_SECONDS = 30
# The kubelet renews a token when four fifths of its time are over.
_TOKEN_SECONDS = 3600


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
    fetched: Fetched | None = None,
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
    before = []
    if fetched is not None:
        before.append(fetching(fetched, user_env, resources))
        volumes.append({"name": names.CODE_VOLUME, "emptyDir": {"sizeLimit": CODE_LIMIT}})
        mounts.append({"name": names.CODE_VOLUME, "mountPath": fetched.folder, "readOnly": True})
        environment.append({"name": contract.CODE_FILES, "value": fetched.folder})
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
    spec = avoiding(scheduling(template, labels), bad_nodes(job, stage)) | {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds
        or _GRACE_SECONDS,
        "automountServiceAccountToken": service_account is not None,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if before:
        spec["initContainers"] = before
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


def job_ref(job: TrainingJob, stage: StageName) -> contract.JobRef:
    """Which run this is. A stage that is run again has another uid than before: it starts over,
    and does not go on from the checkpoints that are there."""
    meta = job.metadata
    first = next((s.first_attempt for s in job.status.stages if s.name == stage), None)
    uid = meta.uid if first is None else f"{meta.uid}-{first}"
    return contract.JobRef(namespace=meta.namespace, name=meta.name, uid=uid)
