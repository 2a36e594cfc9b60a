"""What stages read from outside, remembered so that a change of it is noticed.

A stage that is done stays as it is when its input changes afterwards: who goes on with it
should know. What is remote is not looked at, nor are inputs of thousands of files.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..api.uris import FILE, Uri
from ..api.v1alpha1 import StageName, TrainingJob
from ..core import stages

# By name: size, time of writing in ns, digest or None.
Stamps = dict[str, list[int | str | None]]

# Inputs of more than this are compared by size and time alone: reading them takes long.
_HASHED_BYTES = 64 * 2**20
_MOST_FILES = 5000
_SHOWN = 3


def stamps(job: TrainingJob, stage: StageName, claims: Mapping[str, Path]) -> Stamps:
    """Of the files that the stage reads now; empty for one that reads what another has made."""
    found: dict[str, Path] = {}
    for name, path in _named(job, stage, claims):
        if path.is_file():
            found[name] = path
        elif path.is_dir():
            inside = itertools.islice((p for p in path.rglob("*") if p.is_file()), _MOST_FILES + 1)
            found |= {f"{name.rstrip('/')}/{p.relative_to(path)}": p for p in sorted(inside)}
    return _stamps(found) if len(found) <= _MOST_FILES else {}


def changed(before: Stamps, now: Stamps) -> str:
    """``in.csv (written anew), b.csv (new)``: how they differ; "" when they do not."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            found.append(f"{name} ({'gone' if new is None else 'new'})")
        elif old[0] != new[0]:
            found.append(f"{name} ({old[0]} -> {new[0]} bytes)")
        elif old[2] != new[2] or (old[2] is None and old[1] != new[1]):
            found.append(f"{name} (written anew)")
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _named(
    job: TrainingJob, stage: StageName, claims: Mapping[str, Path]
) -> Iterator[tuple[str, Path]]:
    for uri in dict.fromkeys(stages.named(stage).reads(job)):
        yield from _found(uri, claims)
    spec = getattr(job.spec, stage)
    for part in ("command", "args"):
        for word in getattr(spec, part, None) or ():
            # A program, say the interpreter, is no input.
            if word.startswith("/") and os.path.isfile(word) and not os.access(word, os.X_OK):  # noqa: PTH113
                yield word, Path(word)


def _found(uri: str, claims: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """The files or the folder that a URI names, by names that begin as it does."""
    found = Uri.parse(uri)
    base, prefix = claims.get(found.authority), f"{found.scheme.start}{found.authority}/"
    if found.scheme is FILE:
        base, prefix = Path("/"), "/"
    if found.scheme.remote or base is None:
        return
    rest = found.path.lstrip("/")
    if (base / rest).exists() or not glob.has_magic(rest):
        yield f"{prefix}{rest}", base / rest
        return
    for path in sorted(base.glob(rest)):
        yield f"{prefix}{path.relative_to(base)}", path


def _stamps(found: Mapping[str, Path]) -> Stamps:
    about = {}
    for name, path in found.items():
        try:
            about[name] = path.stat()
        except OSError:
            continue
    total = sum(one.st_size for one in about.values())
    return {
        name: [
            one.st_size,
            one.st_mtime_ns,
            _sha256(found[name]) if total <= _HASHED_BYTES else None,
        ]
        for name, one in about.items()
    }


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
