"""A child that is no pod, as the core sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChildView:
    """An object that the job owns and that has the name of one of its children. ``status`` is what
    the object's own controller has stored there; empty for kinds that have none."""

    kind: str
    name: str
    uid: str = ""
    deleting: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, kind: str, obj: Mapping[str, Any]) -> ChildView:
        """Read an object. Its kind is given, since the items of a list do not have it."""
        meta = obj["metadata"]
        return cls(
            kind=kind,
            name=meta["name"],
            uid=meta.get("uid", ""),
            deleting="deletionTimestamp" in meta,
            status=obj.get("status") or {},
        )
