"""A child that is no pod, as the core sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..api.v1alpha1 import GROUP
from .names import LABEL_ROLLOUT


@dataclass(frozen=True)
class ChildView:
    """An object that the job owns and that has the name of one of its children. ``status`` is what
    the object's own controller has stored there; empty for kinds that have none."""

    kind: str
    name: str
    uid: str = ""
    deleting: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)
    # Of the object as it is wanted: its version, how many pods, and our own annotations.
    generation: int = 0
    replicas: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    # Of what has pods: which template they have.
    rollout: str = ""

    @classmethod
    def from_dict(cls, kind: str, obj: Mapping[str, Any]) -> ChildView:
        """Read an object. Its kind is given, since the items of a list do not have it."""
        meta = obj["metadata"]
        return cls(
            kind=kind,
            name=meta["name"],
            uid=meta.get("uid", ""),
            deleting="deletionTimestamp" in meta,
            status=_part(obj, "status"),
            generation=meta.get("generation", 0),
            replicas=_replicas(_part(obj, "spec")),
            annotations={
                key: value
                for key, value in _part(meta, "annotations").items()
                if key.startswith(f"{GROUP}/")
            },
            rollout=rollout_of(obj),
        )


def rollout_of(obj: Mapping[str, Any]) -> str:
    """The label by which the pods of an object are told from those of its template before; "" of
    one that has none."""
    spec = _part(obj, "spec")
    # An InferenceService has no template: KServe makes it.
    made_from = _part(spec, "predictor") or _part(_part(spec, "template"), "metadata")
    return str(_part(made_from, "labels").get(LABEL_ROLLOUT, ""))


def _replicas(spec: Mapping[str, Any]) -> int:
    found = _part(spec, "predictor").get("minReplicas", spec.get("replicas"))
    return found if isinstance(found, int) else 1


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Empty where it is none: a CRD of somebody else's may let anything pass."""
    found = obj.get(name)
    return found if isinstance(found, Mapping) else {}
