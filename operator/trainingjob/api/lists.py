"""Lists whose items must differ, which the API server enforces by their list type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_origin

from .paths import Path, shown
from .v1alpha1.common import EnvVar, PullSecret
from .v1alpha1.evaluate import MetricName
from .v1alpha1.search import Parameter
from .v1alpha1.status import Condition, StageStatus
from .v1alpha1.volumes import Volume, VolumeMount
from .walk import child_type, plain_type

# x-kubernetes-list-type: map. Items of these classes are told apart by this field, in pods as
# Kubernetes does it. Lists of enum values and of metrics are sets; all others may repeat items.
LIST_KEYS: dict[Any, str] = {
    EnvVar: "name",
    Volume: "name",
    VolumeMount: "mountPath",
    PullSecret: "name",
    Parameter: "field",
    Condition: "type",
    StageStatus: "name",
}


def list_type(kind: Any) -> dict[str, Any]:
    """The extensions of a list's schema; empty for an atomic list and for any other type."""
    if get_origin(plain_type(kind)) is not list:
        return {}
    given = child_type(kind, 0)
    item = plain_type(given)
    if item in LIST_KEYS:
        key = LIST_KEYS[item]
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    distinct = get_origin(item) is Literal or given == MetricName
    return {"x-kubernetes-list-type": "set"} if distinct else {}


def duplicates(obj: Any, kind: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where a valid object, as in YAML, repeats an item of a map or set, and what about it."""
    if isinstance(obj, dict):
        for name, value in obj.items():
            yield from duplicates(value, child_type(kind, name), (*path, name))
    if not isinstance(obj, list):
        return
    keys = list_type(kind).get("x-kubernetes-list-map-keys", [])
    distinct = list_type(kind) != {}
    seen = set()
    for index, item in enumerate(obj):
        here = (*path, index)
        yield from duplicates(item, child_type(kind, 0), here)
        if distinct:
            identity = item[keys[0]] if keys else item
            if identity in seen:
                yield here, f"duplicate {keys[0] if keys else 'value'} {shown(identity)}"
            seen.add(identity)
