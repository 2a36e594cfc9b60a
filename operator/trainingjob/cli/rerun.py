"""`trainingjob rerun`: a job of this machine once more, from one of its stages."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..api.v1alpha1 import KIND
from ..local.session import Request, Session, reopen_session
from ..local.store import Home, Workspace
from .errors import UsageError
from .get import find
from .job import one_job
from .manifest import Document, read
from .run import drive, request_of
from .text import short


def rerun(args: argparse.Namespace) -> int:
    """As ``run``, with a job that has been run, by its manifest as it is now; the exit code tells
    how it ended."""
    workspace = Workspace(Path(args.work_dir))
    home = find(workspace, args.name, args.namespace)

    def opened() -> Session:
        request, note = _manifest(home, args.file)
        session = reopen_session(workspace, home, args.stage, request)
        return replace(session, note=session.note + note)

    return drive(args, home, opened)


def _manifest(home: Home, given: str | None) -> tuple[Request | None, str]:
    """What the job's manifest asks for now, and a remark when it is not used.

    Raises UsageError and ManifestError when it is not valid, or was ``given`` and is another job's.
    """
    known = home.load_run().get("file", "")
    source = given or (short(Path(known)) if known else "")
    if not source:
        return None, ""
    if given is None and not Path(known).is_file():
        return None, f"; by the manifest that it was run with: {source} is gone"
    documents = read(source)
    found = next((one for one in documents if _is_of(one, home)), None)
    if found is None:
        if given is not None:
            raise UsageError(f"{source}: no TrainingJob {home.name} in it")
        return None, f"; by the manifest that it was run with: {source} has another job by now"
    document, job = one_job([found], home.namespace)
    return request_of(documents, document, job, source), ""


def _is_of(document: Document, home: Home) -> bool:
    meta = document.value.get("metadata") if isinstance(document.value, dict) else None
    namespace = meta.get("namespace") if isinstance(meta, dict) else None
    return (
        document.kind == KIND and document.name == home.name and namespace in (None, home.namespace)
    )
