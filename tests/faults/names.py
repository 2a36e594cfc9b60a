"""What passes between an operator and its API server, in words that are the same in every run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PATH = re.compile(
    r"/(?:api|apis/[^/]+)/[^/]+/namespaces/(?P<namespace>[^/]+)/"
    r"(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_SINGULAR = {
    "trainingjobs": "job",
    "pods": "pod",
    "services": "service",
    "networkpolicies": "policy",
    "persistentvolumeclaims": "claim",
    "events": "event",
    "secrets": "secret",
}
_VERBS = {"POST": "create", "PUT": "write", "DELETE": "delete", "PATCH": "patch", "GET": "get"}


@dataclass(frozen=True)
class Word:
    """``verb`` and ``kind`` are what is done to what, ``which`` tells one from the others."""

    verb: str
    kind: str
    which: str = ""

    @property
    def key(self) -> str:
        return " ".join(filter(None, (self.verb, self.kind, self.which)))

    @property
    def writes(self) -> bool:
        return self.verb in ("create", "write", "delete", "patch")


def of_request(method: str, path: str, watch: bool, body: bytes, job: str) -> Word:
    """A request; ``job`` is the name of the only one that there is."""
    found = _PATH.fullmatch(path)
    if found is None:
        return Word(_VERBS[method], path)
    kind = _SINGULAR.get(found["plural"], found["plural"])
    if method == "GET" and found["name"] is None:
        return Word("watch" if watch else "list", kind)
    if found["sub"] == "status":
        return Word("write", "status", stands(json.loads(body)))
    if method == "POST":
        made = json.loads(body)
        which = made["reason"] if kind == "event" else short(made["metadata"]["name"], job)
        return Word("create", kind, which)
    return Word(_VERBS[method], kind, short(found["name"], job))


def of_event(line: bytes, path: str, job: str) -> tuple[Word, int] | None:
    """A line of a watch, and its version; None when it is not about the job."""
    told = json.loads(line)
    obj, kind = told["object"], _SINGULAR[path.rpartition("/")[2]]
    meta = obj.get("metadata") or {}
    name = meta.get("name", "")
    if told["type"] in ("BOOKMARK", "ERROR") or not (name == job or name.startswith(f"{job}-")):
        return None
    which = stands(obj) if kind == "job" else short(name, job)
    if kind == "pod":
        which += f" {(obj.get('status') or {}).get('phase', '')}"
        if "deletionTimestamp" in meta:
            which += " leaving"
    return Word(told["type"].lower(), kind, which), int(meta["resourceVersion"])


def stands(job: Mapping[str, Any]) -> str:
    """How a job stands."""
    status = job.get("status") or {}
    attempts = "/".join(str(stage.get("attempt", 1)) for stage in status.get("stages") or ())
    words = f"{status.get('phase', '')}/{status.get('reason', '')}"
    return f"{words} {attempts}".strip() if attempts.strip("1/") else words


def short(name: str, job: str) -> str:
    """The name without the job's."""
    return "" if name == job else name.removeprefix(f"{job}-")
