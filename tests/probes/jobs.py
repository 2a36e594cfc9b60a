"""What authors put into jobs: what is others', and what a job has no word for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import yaml

from tests.integration.harness import manifest
from tests.integration.tenants import JOBS, Tenants
from trainingjob.api.v1alpha1.common import RESERVED_ENV
from trainingjob.api.v1alpha1.preprocess import RESERVED_SPARK_CONF

from .probe import Probe

SPARK: dict[str, Any] = {
    "engine": "spark",
    "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
    "split": {"test": 0.2},
}
STAGES: dict[str, dict[str, Any]] = {
    "preprocess": SPARK | {"engine": "pandas"},
    "train": {"model": {"mlp": {"hidden": [8]}}},
    "evaluate": {"gates": [{"metric": "accuracy", "min": 0.5}]},
}
# What a job may use of others, with who may have it used.
FRAGMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a Secret as variables": ({"envFrom": [{"secretRef": {"name": "NAME"}}]}, "secrets"),
    "the last of three": (
        {"envFrom": [{"secretRef": {"name": name}} for name in ("mine", "mine", "NAME")]},
        "secrets",
    ),
    "the ninth": ({"envFrom": [{"secretRef": {"name": "NAME"}}] * 9}, "secrets of all"),
    "a pull secret": ({"template": {"imagePullSecrets": [{"name": "NAME"}]}}, "secrets"),
    "a ConfigMap as variables": ({"envFrom": [{"configMapRef": {"name": "NAME"}}]}, "configmaps"),
    "a ConfigMap as a volume": (
        {
            "template": {
                "volumes": [{"name": "v", "configMap": {"name": "NAME"}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        },
        "configmaps",
    ),
    "a Secret as a volume": (
        {"template": {"volumes": [{"name": "v", "secret": {"secretName": "NAME"}}]}},
        "secrets",
    ),
    "a Secret for git": (
        {
            "code": {
                "git": {
                    "url": "https://git.example.org/a/b",
                    "commit": "1f3c9b0d2a4e5f60718293a4b5c6d7e8f9012345",
                    "credentialsSecret": {"name": "NAME"},
                }
            }
        },
        "secrets",
    ),
    "a priority class": ({"template": {"priorityClassName": "NAME"}}, "pods"),
}
MAY: dict[str, set[str]] = {
    "jobs": set(),
    "own": {"mine"},
    "pods": {"pods"},
    "all": {"pods", "secrets", "configmaps", "secrets of all"},
}
_NAMES = ("mine", "theirs", "system-node-critical")
# Of a pod, and of no job.
_OF_PODS: dict[str, Any] = {
    "serviceAccountName": "powerful",
    "serviceAccount": "powerful",
    "automountServiceAccountToken": True,
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "hostUsers": True,
    "nodeName": "control-plane",
    "shareProcessNamespace": True,
    "securityContext": {"runAsUser": 0, "sysctls": [{"name": "a", "value": "b"}]},
    "containers": [{"name": "more", "image": "theirs"}],
    "initContainers": [{"name": "more", "image": "theirs"}],
    "ephemeralContainers": [{"name": "more", "image": "theirs"}],
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["kubernetes.default.svc"]}],
    "dnsConfig": {"nameservers": ["192.0.2.1"]},
    "priority": 2000001000,
    "preemptionPolicy": "PreemptLowerPriority",
    "overhead": {"cpu": "0"},
    "restartPolicy": "Always",
    "metadata": {"ownerReferences": []},
}
_VOLUMES: dict[str, Any] = {
    "hostPath": {"path": "/"},
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
    "nfs": {"server": "192.0.2.1", "path": "/"},
    "csi": {"driver": "secrets-store.csi.k8s.io"},
    "downwardAPI": {"items": []},
    "image": {"reference": "theirs"},
    "iscsi": {"targetPortal": "192.0.2.1", "iqn": "a", "lun": 0},
    "flexVolume": {"driver": "a/b"},
}
_OF_STAGES: dict[str, Any] = {
    "securityContext": {"privileged": True},
    "serviceAccountName": "powerful",
    "volumeDevices": [{"name": "v", "devicePath": "/dev/sda"}],
    "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
    "ports": [{"containerPort": 1, "hostPort": 1}],
    "restartPolicy": "Always",
}
_SOURCES: dict[str, Any] = {
    "secretKeyRef": {"name": "theirs", "key": "password"},
    "configMapKeyRef": {"name": "theirs", "key": "password"},
    "fieldRef": {"fieldPath": "spec.nodeName"},
}
_FOLDERS = (
    "/etc/trainingjob/status",
    "/mnt/claims/other",
    "/dev/shm",
    "/proc",
    "/tmp",
)


def authors(tenants: Tenants) -> Iterator[Probe]:
    """What is others': whoever has the right may have it used, and nobody else."""
    for account, stage, (what, (fragment, right)), name in itertools.product(
        MAY, STAGES, FRAGMENTS.items(), _NAMES
    ):
        text = yaml.safe_dump(fragment).replace("NAME", name)
        found = yaml.safe_load(text)
        # A model is of no code of its own.
        given = {k: v for k, v in STAGES[stage].items() if "code" not in found or k != "model"}
        job = manifest(**{stage: given | found})
        may = MAY[account]
        own = name == "mine" and "mine" in may and right in ("secrets", "configmaps")
        words = f"{what}, {name}, in {stage}"
        user, taken = tenants.user(account), right in may or own
        yield Probe("of others", account, words, user, "POST", JOBS, job, taken=taken)


def words() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What a job has no word for, in each stage; the job with it, and without."""
    for stage, spec in STAGES.items():
        mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        found: dict[str, dict[str, Any]] = {
            **{f"template.{key}": {"template": {key: value}} for key, value in _OF_PODS.items()},
            **{
                f"a volume of {key}": {"template": mount | {"volumes": [{"name": "v", key: value}]}}
                for key, value in _VOLUMES.items()
            },
            **{key: {key: value} for key, value in _OF_STAGES.items()},
            **{
                f"env from {key}": {"env": [{"name": "A", "valueFrom": {key: value}}]}
                for key, value in _SOURCES.items()
            },
            **{
                f"env {name}": {"env": [{"name": name, "value": "1"}]}
                for name in (*RESERVED_ENV, "TRAININGJOB_POD_IP", "PET_RDZV_ENDPOINT")
            },
            **{
                f"a mount at {path}": {
                    "template": {
                        "volumes": [{"name": "v", "emptyDir": {}}],
                        "volumeMounts": [{"name": "v", "mountPath": path}],
                    }
                }
                for path in _FOLDERS
            },
            **{
                f"a {kind} of ours": {"template": {kind: {"trainingjob.dev/index": "7"}}}
                for kind in ("labels", "annotations")
            },
        }
        if stage == "preprocess":
            found |= {
                f"sparkConf {key}": {"engine": "spark", "sparkConf": {_whole(key): "a"}}
                for key in RESERVED_SPARK_CONF
            }
        for what, fragment in found.items():
            kept = {key: fragment[key] for key in ("engine",) if key in fragment}
            if "from" in what:
                kept["env"] = [{"name": "A"}]  # a variable that is empty is left of it
            plain = manifest(**{stage: spec | kept})
            yield f"{what}, in {stage}", manifest(**{stage: spec | fragment}), plain


def _whole(key: str) -> str:
    return f"{key}file" if key.endswith(".") else key


def wordless(tenants: Tenants) -> Iterator[Probe]:
    """By somebody who may do all that an author may, with a client that is strict about fields and
    with one that is not."""
    user = tenants.user("all")
    for (what, job, plain), strict in itertools.product(words(), ("Strict", "Ignore")):
        path = f"{JOBS}&fieldValidation={strict}"
        kind = f"no words, {strict.lower()}"
        yield Probe(kind, "all", what, user, "POST", path, job, plain=plain)
