"""`trainingjob serve` and `trainingjob predict`: the last accepted model of a job here."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from glob import has_magic
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from ..api.errors import problems
from ..api.payload import CLAIMS_DIR, COPIES_DIR, RESULT_FILE, STAGE_PAYLOAD, Report, ServePayload
from ..api.printable import escaped
from ..api.stored import Unreadable, read_stored
from ..api.uris import FILE
from ..api.v1alpha1 import TrainingJob
from ..api.v1alpha1.input import Input
from ..api.v1alpha1.reasons import reason_of, remedy_of_accepted
from ..core import names
from ..local import claims, environment
from ..local.store import Home, Workspace
from .errors import UsageError, last_words
from .exits import Exit
from .get import find

# -P: nothing in the working folder may shadow a library.
_PYTHON = [sys.executable, "-P", "-m"]
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".orc": "orc",
}
# What begins as a URI does, of whatever scheme.
_URI = re.compile(r"[a-z][a-z0-9+.-]*:/")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    home, job = _job(args)
    payload = _payload(job, args.variant, host=args.host, port=args.port)
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        result = Path(folder) / "result"
        env = _environment(home, folder) | {
            STAGE_PAYLOAD: payload.model_dump_json(by_alias=True, exclude_none=True),
            RESULT_FILE: str(result),
        }
        server = subprocess.Popen(
            [*_PYTHON, "trainingjob.runtime"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not args.verbose else None,
            text=True,
        )
        # From a terminal it gets SIGINT as we do.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: server.send_signal(number))
        assert server.stdout is not None
        for line in server.stdout:
            sys.stdout.write(_shown(line))
            sys.stdout.flush()
        if server.wait():
            print(f"error: {escaped(_why(result))}", file=sys.stderr)
            return Exit.FAILED
    return Exit.SUCCEEDED


def predict(args: argparse.Namespace) -> int:
    """Predict the rows of FILE, of files, or of a URI."""
    home, job = _job(args)
    if len(args.file) > 1:
        raise UsageError(
            f"{len(args.file)} files are given, and one FILE is taken: put a pattern into quotes, "
            "as 'new/*.csv', or name the folder"
        )
    if args.output is not None:
        if Path(args.output).suffix.lower() not in (".csv", ".parquet"):
            raise UsageError(f"{args.output}: the name must end in .csv or .parquet")
        if not Path(args.output).absolute().parent.is_dir():
            raise UsageError(f"{args.output}: no such folder")
    asked = {
        "model": _payload(job, args.variant).to_dict(),
        "input": _input(job, args.file[0]).to_dict(),
        "keep": args.keep,
    }
    if args.output is not None:
        asked["output"] = str(Path(args.output).absolute())
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        done = subprocess.run(
            [*_PYTHON, "trainingjob.runtime.predict.command"],
            input=json.dumps(asked),
            env=_environment(home, folder),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        print(f"error: {escaped(last_words(done.stderr))}", file=sys.stderr)
        return Exit.FAILED
    for line in lines:
        print(escaped(line), file=sys.stderr)
    return Exit.SUCCEEDED


def _job(args: argparse.Namespace) -> tuple[Home, TrainingJob]:
    """Raises UsageError for a job that has no model that could be served."""
    home = find(Workspace(Path(args.work_dir)), args.name, args.namespace)
    job = read_stored(json.dumps(home.load()).encode())
    if isinstance(job, Unreadable):
        raise UsageError(f"job {home.name} cannot be read: {job.message}")
    if not job.spec.judged and job.spec.promoted is None:
        raise UsageError(f"job {home.name} has no evaluate stage: only an accepted model is served")
    folders = {name: Path(path) for name, path in home.load_run().get("claims", {}).items()}
    claims.link(home.claims, folders)
    return home, job


def _payload(job: TrainingJob, variant: str | None, **more: Any) -> ServePayload:
    more |= {"name": job.metadata.name, "variant": variant}
    given = job.spec.promoted
    if given is not None:
        return ServePayload(model_uri=given.uri, digest=given.digest, **more)
    return ServePayload(model_uri=names.accepted_uri(job), **more)


def _environment(home: Home, folder: str) -> dict[str, str]:
    """``folder`` is the process's own: no other one writes copies of what is remote there."""
    own = {CLAIMS_DIR: str(home.claims), COPIES_DIR: str(Path(folder) / "copies")}
    return environment.of_node(os.environ) | own


def _input(job: TrainingJob, source: str) -> Input:
    """A file, a folder, a pattern or a URI, written as the job's input is where it is of that
    format. Raises UsageError."""
    uri = source if _URI.match(source) else _uri_here(source)
    suffixes = [s for s in map(str.lower, PurePath(source).suffixes) if s not in _PACKED]
    given, found = job.spec.given, _FORMATS.get(suffixes[-1] if suffixes else "")
    if found is None and (given is None or given.format == "raw"):
        name = PurePath(source).name
        raise UsageError(f"{name}: of which format is it? Known are {', '.join(_FORMATS)}")
    try:
        if given is not None and found in (None, given.format):
            return Input.model_validate(given.to_dict() | {"uri": uri})
        return Input.model_validate({"uri": uri, "format": found})
    except ValidationError as error:
        raise UsageError(f"{source}: {problems(error, Input)[0].message}") from error


def _uri_here(source: str) -> str:
    """Of what lies on this machine. Raises UsageError."""
    path = Path(source).absolute()
    if not path.exists() and not has_magic(source):  # of a pattern, who reads it says so
        raise UsageError(f"{source}: no such file or folder")
    return f"{FILE.start}{path}"


def _shown(line: str) -> str:
    """A line of the server's log for people."""
    try:
        told = json.loads(line)
        if told["event"] == "ready":
            return (
                f"{told['model']}, version {told['version']}, is served at {told['address']}: "
                f"{told['rows']} rows of its evaluation got the outputs that were judged\n"
            )
    except (ValueError, LookupError, TypeError):
        pass
    return line


def _why(result: Path) -> str:
    """As the server has told it at its end."""
    try:
        error = Report.model_validate_json(result.read_bytes()).error
    except (OSError, ValueError):
        error = None
    if error is None:
        return "the server ended without saying why; see --verbose"
    reason = reason_of(error.reason)
    remedy = f"; {remedy_of_accepted(reason)}" if reason is not None else ""
    return f"{error.message}{remedy}"
