"""What a run starts from: a new job, one that was interrupted, or one that is run again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..api.stored import Unreadable, read_stored
from ..api.v1alpha1 import StageName, TrainingJob
from ..api.v1alpha1.status import format_time
from ..core import stages as rooms
from ..core.names import ANNOTATION_RERUN
from ..core.policy import cleanup, edits, rerun
from . import claims, files, inputs
from .errors import Refused
from .store import Home, Workspace

_MOST_CHANGES = 5


@dataclass(frozen=True)
class Request:
    """What is to be run: a checked job and what came with it. Raises Refused for a path that is no
    text."""

    job: TrainingJob
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    # The folder of the manifest, where claims are looked for.
    beside: Path = Path()
    # The manifest's name, for messages, and where it lies; None for standard input.
    source: str = ""
    file: Path | None = None
    given_claims: Mapping[str, Path] = field(default_factory=dict)
    fresh: bool = False

    def __post_init__(self) -> None:
        for path in (self.beside, self.file, *self.given_claims.values()):
            files.require_text(path)


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

    Raises Refused when the request changes what a stage that is done was made by.
    """
    if not request.fresh:
        stored = home.load()
        if stored is not None and not is_over(stored):
            return _resumed(workspace, home, stored, request)
    return _begun(workspace, home, request)


def reopen_session(
    workspace: Workspace, home: Home, stage: StageName | None, request: Request | None
) -> Session:
    """Run a job again from ``stage``, or from its first one; the caller holds the job's lock.

    ``request`` is its manifest as it is by now; without one it is as it was. Raises Refused when
    the job is gone, cannot be read or has no such stage, and when the manifest has changed what a
    stage that would stay was made by.
    """
    old, stored = _stored(home, "run its manifest with `trainingjob run FILE`")
    new = request.job if request else old
    stages = rooms.names_of(new)
    stage = stage or stages[0]
    if stage not in stages:
        raise Refused(
            f"job {home.name} has no stage {stage}; use --from with one of {', '.join(stages)}"
        )
    done = _there(old)
    first = next((name for name in stages if name == stage or name not in done), stage)
    stays = stages[: stages.index(first)]
    run = home.load_run()
    edit = _Edit(old, new, run, request)
    if refused := edit.of(stays):
        raise Refused(
            f"{edit.source} has changed what stages of {home.name} were made by that would not "
            f"run again: {_listed(refused)}. Run them again with --from "
            f"{next(name for name in stays if edit.of([name]))}, or undo the change"
        )
    # One before it that is not over goes on where it was, unless it is another by now.
    asked = first if edit.of([first]) else stage
    note = f"running {home.name} again from {stage}"
    if first != stage:
        note += f", once {first} has succeeded"
    note += edit.described()
    _ask(stored, old, asked)
    return _edited(workspace, home, stored, edit, stays, note)


def is_over(job: Mapping[str, Any]) -> bool:
    """Whether a stored job has ended, and what its policy does not keep was removed."""
    status = job.get("status") or {}
    cleaning = (status.get("cleanup") or {}).get("phase") == "Running"
    return status.get("phase") in ("Succeeded", "Failed") and not cleaning


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
        **_origin(request),
        "claims": {name: str(folder) for name, folder in folders.items()},
        "configMaps": {name: dict(data) for name, data in request.config_maps.items()},
        "ports": {},
    }
    run["inputs"] = _inputs(request.job, run)
    home.save_run(run)
    home.save(job)
    return Session(home, job, run)


def _resumed(workspace: Workspace, home: Home, stored: dict[str, Any], request: Request) -> Session:
    old, stored = _stored(home, "start over with --fresh")
    run = home.load_run()
    edit = _Edit(old, request.job, run, request)
    stages, done = rooms.names_of(request.job), _done(old)
    first = next((name for name in stages if name not in done), None)
    stays = stages if first is None else stages[: stages.index(first)]
    refused = edit.of(stays)
    for name, folder in request.given_claims.items():
        before = run.get("claims", {}).get(name)
        if before not in (None, str(folder.resolve())):
            refused.append(f"--claim {name}={folder} (was {before})")
    if refused:
        raise Refused(
            f"job {home.name} was interrupted, and what its finished stages were made by has "
            f"changed since: {_listed(refused)}. Undo the change to go on, or start over with "
            "--fresh"
        )
    note = f"going on with {home.name}, which was interrupted{edit.described()}"
    begun = first is not None and _goes_on(old, first)
    if first is not None and begun and rooms.named(first).starts_over(old, request.job):
        note += f"; {first} starts over, since its checkpoints are of the manifest before"
        _ask(stored, old, first)
    elif first is not None and (done & set(stages)) - set(stays):
        _ask(stored, old, first)
    return _edited(workspace, home, stored, edit, stays, note)


class _Edit:
    """The manifest as it is by now, against that by which the job was run."""

    def __init__(
        self, old: TrainingJob, new: TrainingJob, run: Mapping[str, Any], request: Request | None
    ) -> None:
        self.old, self.new, self.request = old, new, request
        self.source = (request.source if request else "") or "the manifest"
        self._old_maps = run.get("configMaps", {})
        self._new_maps = request.config_maps if request else self._old_maps

    def of(self, stages: Iterable[StageName]) -> list[str]:
        """What differs in these stages."""
        maps = (self._old_maps, self._new_maps)
        found = (edits.of_stage(name, self.old, self.new, *maps) for name in stages)
        return list(dict.fromkeys(line for lines in found for line in lines))

    def described(self) -> str:
        """For a note: what differs; "" for nothing."""
        if not self.request:
            return ""
        spec = edits.changes(self.old.spec.to_dict(), self.new.spec.to_dict(), "spec")
        every = dict.fromkeys([*spec, *self.of(rooms.names_of(self.new))])
        return f", by {self.source} as it is now: {_listed(list(every))}" if every else ""


def _edited(
    workspace: Workspace,
    home: Home,
    stored: dict[str, Any],
    edit: _Edit,
    stays: Sequence[StageName],
    note: str,
) -> Session:
    """The stored job by the manifest as it is now, with what its stages read looked at anew."""
    run = home.load_run()
    request = edit.request
    if request is not None:
        run |= _origin(request)
        used = claims.used_by(request.job)
        before = {name: Path(f) for name, f in run.get("claims", {}).items() if name in used}
        given = {**request.given_claims, **before}
        folders = claims.resolve(used, given, request.beside, workspace.claims)
        run["claims"] = {name: str(folder) for name, folder in folders.items()}
        run["configMaps"] = {name: dict(data) for name, data in request.config_maps.items()}
        spec = request.job.spec.to_dict()
        if spec != edit.old.spec.to_dict():
            stored["spec"] = spec
            stored["metadata"]["generation"] = stored["metadata"].get("generation", 1) + 1
    now, known = _inputs(edit.new, run), run.get("inputs", {})
    read = {name: inputs.changed(known[name], now.get(name, {})) for name in known}
    for name, difference in read.items():
        if difference and name in stays:
            note += (
                f"; what {name} has read has changed since: {difference}. It stays as it was made: "
                f"`trainingjob rerun {home.name} --from {name}` makes it anew"
            )
        elif difference and _goes_on(edit.old, name):
            note += f"; what {name} reads has changed since: {difference}"
    run["inputs"] = now | {name: known[name] for name in stays if name in known}
    home.save_run(run)
    home.save(stored)
    return Session(home, stored, run, note)


def _stored(home: Home, remedy: str) -> tuple[TrainingJob, dict[str, Any]]:
    stored = home.load()
    if stored is None:
        raise Refused(f"job {home.name} is gone; {remedy}")
    job = read_stored(json.dumps(stored).encode())
    if isinstance(job, Unreadable):
        raise Refused(f"job {home.name} cannot be run again: {job.message}")
    return job, stored


def _done(job: TrainingJob) -> set[StageName]:
    return {found.name for found in job.status.stages if found.phase == "Succeeded"}


def _there(job: TrainingJob) -> set[StageName]:
    """Of those the stages whose result was not removed when the job was over."""
    return {name for name in _done(job) if not cleanup.gone(job, name)}


def _goes_on(job: TrainingJob, stage: StageName) -> bool:
    """Whether it has begun and is not over, and goes on from its checkpoint."""
    found = next((one for one in job.status.stages if one.name == stage), None)
    return (
        found is not None
        and rooms.named(stage).resumable
        and found.start_time is not None
        and not found.over
    )


def _ask(stored: dict[str, Any], job: TrainingJob, stage: StageName) -> None:
    """As on a cluster: by the annotation."""
    annotations = stored["metadata"].get("annotations", {})
    asked = {ANNOTATION_RERUN: rerun.following(job, stage)}
    stored["metadata"]["annotations"] = annotations | asked


def _origin(request: Request) -> dict[str, Any]:
    return {"source": request.source, "file": str(request.file) if request.file else ""}


def _inputs(job: TrainingJob, run: Mapping[str, Any]) -> dict[str, inputs.Stamps]:
    folders = {name: Path(folder) for name, folder in run.get("claims", {}).items()}
    return {name: inputs.stamps(job, name, folders) for name in rooms.names_of(job)}


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - _MOST_CHANGES
    return ", ".join(lines[:_MOST_CHANGES]) + (f" and {more} more" if more > 0 else "")
