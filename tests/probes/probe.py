"""One try, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.integration.tenants import Tenants
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages

# Who says no, by words of his answer.
_WHO = {
    "ValidatingAdmissionPolicy": "the policies",
    "strict decoding error": "the schema",
    "is invalid": "the schema",
    "cannot ": "RBAC",
}


@dataclass(frozen=True)
class Probe:
    """``user`` asks for it; ``{}`` in the path is the namespace. ``taken``: whether it is his to
    have. ``plain``: the job that it was made from, of whose pods it changes nothing if it is taken
    although it should not be."""

    kind: str
    who: str
    what: str
    user: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    content_type: str | None = None
    taken: bool = False
    plain: dict[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """``right``: nobody got more than he has, and everybody what he has. ``words`` say who has
    seen to it."""

    right: bool
    words: str
    status: int
    message: str


def tried(tenants: Tenants, probe: Probe) -> Outcome:
    """On the real API server."""
    path = probe.path.format(tenants.name)
    status, answer = tenants.plane.request(
        probe.method, path, probe.body, probe.user, probe.content_type
    )
    message = str(answer.get("message", "")) if isinstance(answer, dict) else ""
    if status not in (200, 201):
        who = next((who for words, who in _WHO.items() if words in message), "")
        return Outcome(bool(who) and not probe.taken, f"refused by {who}", status, message)
    if probe.taken:
        return Outcome(True, "taken", status, message)
    if probe.plain is None:
        return Outcome(False, "taken", status, message)
    same = pods(answer) == pods(probe.plain)
    return Outcome(same, "left out of all pods" if same else "in a pod", status, message)


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """All that the operator makes of a job, whoever has made that."""
    meta = {"name": manifest["metadata"]["name"], "namespace": "team", "uid": "1"}
    job = TrainingJob.from_dict(manifest | {"metadata": meta, "status": {}})
    made = []
    for stage in stages.of(job):
        made += [*stage.others(job, Settings()), *stage.pods(job, 1, Settings())]
    return made
