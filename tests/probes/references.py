"""What of a cluster a job can name, as its schema has it, and who may have it used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.api.v1alpha1.patterns import DNS_SUBDOMAIN

# Where a job has a pod's template, variables and code.
PARTS = ("preprocess", "train", "evaluate", "deploy.deployment", "deploy.kserve", "predict")
# By the end of its path: what the author must have a right to himself, which the chart's policies
# ask about.
ASKED = {
    "envFrom[].secretRef.name": "Secret",
    "template.imagePullSecrets[].name": "Secret",
    "template.volumes[].secret.secretName": "Secret",
    "storage.hdfs.kerberos.keytabSecret.name": "Secret",
    "envFrom[].configMapRef.name": "ConfigMap",
    "template.volumes[].configMap.name": "ConfigMap",
    "script.configMap.name": "ConfigMap",
    "code.configMap.name": "ConfigMap",
    "code.git.credentialsSecret.name": "Secret",
    "storage.hdfs.configMap.name": "ConfigMap",
    "template.priorityClassName": "priorityClassName",
    "deploy.kserve.runtime": "deploy.kserve.runtime",
}
# What nobody is asked about, and why.
FREE = {
    "deploy.kserve.serviceAccountName": "only together with a runtime, about which they ask",
    "persistentVolumeClaim.claimName": "claims are one domain of trust: docs/security.md",
    "storageClassName": "a claim is the quota's to bound, also by class",
    "template.runtimeClassName": "for the cluster's own policies: docs/security.md",
    "template.schedulerName": "decides where a pod runs, as nodeSelector does",
    "matchFields[].values[]": "nodes are for the cluster's own policies: docs/security.md",
    "namespaces[]": "where pods run that are near or far; a quota's CrossNamespacePodAffinity",
    "resourceClaims[].resourceClaimName": "a device that was given out in this namespace",
    "resourceClaims[].resourceClaimTemplateName": "a device, of which a quota says how many",
}
# What stands beside a name.
_BESIDE = {
    "volumes[]": {"name": "v"},
    "keytabSecret": {"key": "k"},
    "kerberos": {"principal": "a@B"},
    "script.configMap": {"key": "a.py"},
    "code.git": {"url": "https://git.example.org/a/b", "commit": "0" * 40},
}


def names() -> list[str]:
    """The paths below the spec of all fields that are names of objects of the cluster."""
    schema = TrainingJob.model_json_schema(by_alias=True)
    found = _strings(schema["properties"]["spec"], schema["$defs"], "")
    return sorted({path for path, kind in found if kind.get("pattern") == DNS_SUBDOMAIN})


def _strings(
    node: dict[str, Any], defs: dict[str, Any], path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    if "$ref" in node:
        node = defs[node["$ref"].rpartition("/")[2]]
    for one in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _strings(one, defs, path)
    for name, one in node.get("properties", {}).items():
        yield from _strings(one, defs, f"{path}.{name}" if path else name)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _strings(node["additionalProperties"], defs, f"{path}{{}}")
    if "items" in node:
        yield from _strings(node["items"], defs, f"{path}[]")
    if node.get("type") == "string":
        yield path, node


def asked() -> dict[str, str]:
    """The paths about which the policies ask, and the word for what they name."""
    return {path: word for path in names() for end, word in ASKED.items() if ends(path, end)}


def ends(path: str, end: str) -> bool:
    """Whether the path ends in these parts."""
    return f".{path}".endswith(f".{end}")


def naming(path: str, name: str) -> dict[str, Any]:
    """A spec with that name there, and what must stand beside it."""
    value: Any = name
    parts = path.split(".")
    while parts:
        last = parts[-1]
        above = ".".join(parts[:-1])
        value = {last.removesuffix("[]"): [value] if last.endswith("[]") else value}
        beside = (more for end, more in _BESIDE.items() if ends(above, end))
        value = value | next(beside, {})
        parts.pop()
    return dict(value)


def merged(spec: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The objects of both, with what they have in common put together."""
    found = dict(spec)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found
