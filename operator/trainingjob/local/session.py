"""What a run starts from: a new job, one that was interrupted, or one that is run again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..api.stored import Unreadable, read_stored
from ..api.v1alpha1 import StageName, TrainingJob
from ..api.v1alpha1.status import format_time
from ..core import children
from ..core.names import ANNOTATION_RERUN
from ..core.policy import rerun
from . import claims
from .errors import Refused
from .store import Home, Workspace

_MOST_CHANGES = 5


@dataclass(frozen=True)
class Request:
    """What is to be run: a checked job and what came with it."""

    job: TrainingJob
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # The folder of the manifest, where claims are looked for.
    beside: Path = Path()
    # The manifest's name, for messages.
    source: str = ""
    given_claims: Mapping[str, Path] = field(default_factory=dict)
    fresh: bool = False


@dataclass
class Session:
    """A job in its folder, ready to be driven. The lock is held."""

    home: Home
    job: dict[str, Any]
    run: dict[str, Any]
    # How it came about, for people; "" for a new job.
    note: str = ""

    def save_run(self) -> None:
        """Store what this machine adds."""
        self.home.save_run(self.run)


def open_session(workspace: Workspace, home: Home, request: Request) -> Session:
    """Go on with a job that was interrupted, or begin; the caller holds the job's lock.

    Raises Refused when the job was interrupted and the request asks for another one now.
    """
    if not request.fresh:
        stored = home.load()
        if stored is not None and not is_over(stored):
            return _resumed(home, stored, request)
    return _begun(workspace, home, request)


def reopen_session(home: Home, stage: StageName | None) -> Session:
    """Run a job again from ``stage``, or from its first one; the caller holds the job's lock.

    Raises Refused when the job is gone, cannot be read or has no such stage.
    """
    stored = home.load()
    if stored is None:
        raise Refused(f"job {home.name} is gone; run its manifest with `trainingjob run FILE`")
    job = read_stored(json.dumps(stored).encode())
    if isinstance(job, Unreadable):
        raise Refused(f"job {home.name} cannot be run again: {job.message}")
    stages = children.stages(job)
    stage = stage or stages[0]
    if stage not in stages:
        raise Refused(
            f"job {home.name} has no stage {stage}; use --from with one of {', '.join(stages)}"
        )
    annotations = stored["metadata"].get("annotations", {})
    asked = {ANNOTATION_RERUN: rerun.following(job, stage)}
    stored["metadata"]["annotations"] = annotations | asked
    done = {found.name for found in job.status.stages if found.phase == "Succeeded"}
    first = next((name for name in stages if name == stage or name not in done), stage)
    note = f"running {home.name} again from {stage}"
    if first != stage:
        note += f", once {first} has succeeded"
    return Session(home, stored, home.load_run(), note)


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether a stored job has ended."""
    return (job.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _begun(workspace: Workspace, home: Home, request: Request) -> Session:
    folders = claims.resolve(
        claims.used_by(request.job), request.given_claims, request.beside, workspace.claims
    )
    home.clear()
    meta = request.job.metadata
    job: dict[str, Any] = {
        "apiVersion": request.job.api_version,
        "kind": request.job.kind,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": format_time(datetime.now(UTC)),
        },
        "spec": request.job.spec.to_dict(),
    }
    for key in ("labels", "annotations"):
        if getattr(meta, key):
            job["metadata"][key] = dict(getattr(meta, key))
    run = {
        "source": request.source,
        "claims": {name: str(folder) for name, folder in folders.items()},
        "configMaps": {name: dict(data) for name, data in request.config_maps.items()},
        "ports": {},
    }
    home.save_run(run)
    home.save(job)
    return Session(home, job, run)


def _resumed(home: Home, stored: dict[str, Any], request: Request) -> Session:
    run = home.load_run()
    changed = list(changes(stored.get("spec"), request.job.spec.to_dict(), "spec"))
    for name, data in request.config_maps.items():
        if data != run.get("configMaps", {}).get(name):
            changed.append(f"ConfigMap {name}")
    for name, folder in request.given_claims.items():
        before = run.get("claims", {}).get(name)
        if before != str(folder.resolve()):
            changed.append(f"--claim {name}={folder} (was {before})")
    if changed:
        more = len(changed) - _MOST_CHANGES
        words = ", ".join(changed[:_MOST_CHANGES]) + (f" and {more} more" if more > 0 else "")
        raise Refused(
            f"job {home.name} was interrupted, and has changed since: {words}. "
            "Undo the change to go on, or start over with --fresh"
        )
    return Session(home, stored, run, f"going on with {home.name}, which was interrupted")


def changes(old: object, new: object, where: str) -> Iterator[str]:
    """Fields that differ, as ``spec.train.epochs: 5 -> 10``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from changes(old.get(key), new.get(key), f"{where}.{key}")
    elif old != new:
        yield f"{where}: {_short(old)} -> {_short(new)}"


def _short(value: object) -> str:
    text = "unset" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
