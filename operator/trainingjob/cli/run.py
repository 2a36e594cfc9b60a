"""`trainingjob run`: the whole job on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from ..api.v1alpha1 import TrainingJob
from ..core import stages
from ..local import lock
from ..local.runner import Runner
from ..local.session import Request, Session, open_session
from ..local.store import Home, Workspace
from .errors import UsageError
from .exits import outcome
from .job import one_job
from .live import LiveView
from .manifest import Document, config_maps, read
from .summary import print_summary
from .text import dump
from .view import PlainView


def run(args: argparse.Namespace) -> int:
    """Run FILE; the exit code tells how the job ended."""
    request = _request(args)
    meta = request.job.metadata
    workspace = Workspace(Path(args.work_dir))
    home = workspace.home(meta.namespace, meta.name)
    return drive(args, home, lambda: open_session(workspace, home, request))


def drive(args: argparse.Namespace, home: Home, opened: Callable[[], Session]) -> int:
    """Run what ``opened`` gives under the job's lock, and show it; the exit code.

    Raises Refused when somebody else runs the job.
    """
    stream = sys.stderr if args.output else sys.stdout
    console = Console(file=stream, no_color=args.no_color or None, highlight=False)
    with lock.held(home.lock, f"{home.namespace}/{home.name}"):
        session = opened()
        view = LiveView(console) if console.is_terminal else PlainView(stream)
        with view:
            if session.note:
                view.note(session.note)
            asked = TrainingJob.from_dict(session.job)
            ignored = list(without_effect(asked))
            if ignored:
                view.note(f"on one machine these have no effect: {', '.join(ignored)}")
            for room in stages.of(asked):
                if (why := room.not_cached(asked)) is not None:
                    view.note(f"{room.name} is not cached: {why}")
            job = Runner(session, view).run()
        code = outcome(job)
        print_summary(console, session, job, code)
        if args.output:
            sys.stdout.write(dump(session.job, args.output))
        return code


def without_effect(job: TrainingJob) -> Iterator[str]:
    """Fields of the manifest that only a cluster can honour."""
    for name in stages.names_of(job):
        stage = getattr(job.spec, name).to_dict()
        for field in ("image", "resources", "driver", "executor", "envFrom"):
            if field in stage:
                yield f"{name}.{field}"
        for field in stage.get("template", {}):
            if field != "terminationGracePeriodSeconds":
                yield f"{name}.template.{field}"
    for field in job.spec.storage.pvc.to_dict() if job.spec.storage.pvc else ():
        yield f"storage.pvc.{field}"
    if job.spec.policy.ttl_seconds_after_finished is not None:
        yield "policy.ttlSecondsAfterFinished"


def _request(args: argparse.Namespace) -> Request:
    documents = read(args.file)
    document, job = one_job(documents, args.namespace)
    given = dict(_claim(text) for text in args.claim)
    return request_of(documents, document, job, args.file, given, fresh=args.fresh)


def request_of(
    documents: list[Document],
    document: Document,
    job: TrainingJob,
    source: str,
    given_claims: Mapping[str, Path] | None = None,
    *,
    fresh: bool = False,
) -> Request:
    """The job of a ``document`` among the documents of a file, once it is known that it can be
    run here. Raises UsageError."""
    if not job.ours:
        where = document.place("spec.managedBy")
        raise UsageError(f"{where}: spec.managedBy: another controller looks after the job")
    if job.spec.suspend:
        where = document.place("spec.suspend")
        raise UsageError(f"{where}: spec.suspend: the job is suspended; remove this to run it")
    maps = config_maps(documents, job.metadata.namespace)
    for field, problem in _missing_code(job, maps):
        raise UsageError(f"{document.place(field)}: {field}: {problem}")
    file = None if source == "-" else Path(source).absolute()
    return Request(
        job=job,
        config_maps=maps,
        beside=Path.cwd() if file is None else file.parent,
        source=source,
        file=file,
        given_claims=given_claims or {},
        fresh=fresh,
    )


def _claim(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UsageError(f"--claim {text}: must be NAME=DIR")
    return name, Path(folder).absolute()


def _missing_code(
    job: TrainingJob, maps: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Scripts and code in ConfigMaps that the file does not bring. In a cluster they may come
    later; here nobody would bring them, and a stage before may take an hour."""
    for name in stages.names_of(job):
        for part in ("script", "code"):
            given = getattr(getattr(job.spec, name), part, None)
            wanted = given.config_map if given is not None else None
            if wanted is None:
                continue
            field = f"spec.{name}.{part}.configMap"
            key = getattr(wanted, "key", None)
            if wanted.name not in maps:
                yield field, f"ConfigMap {wanted.name} is not among the documents of the file"
            elif key is not None and key not in maps[wanted.name]:
                yield field, f"ConfigMap {wanted.name} has no key {key}"
