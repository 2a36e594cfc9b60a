"""A pod's copies of what is remote: a path below one folder stands for a URI."""

from __future__ import annotations

import fnmatch
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainingjob.api.payload import COPIES_DIR
from trainingjob.api.uris import Uri

from .remote import AT_ONCE, connect

# Copies whose originals are there.
_known: set[Path] = set()
_GLOB = re.compile(r"[*?\[]")


def place(uri: Uri) -> Path:
    """Where this pod has its copy."""
    return _root() / uri.copy


def is_copy(path: Path) -> bool:
    """Whether a path stands for something remote."""
    return path.is_relative_to(_root())


def download(uri: Uri) -> Path:
    """Bring the file, the folder or, with ``*?[``, all that fit, where ``place`` says; what is
    not there is not brought. Raises StageFailure."""
    remote, copy = connect(uri), place(uri)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [(path, place(_at(uri, path))) for path in _found(uri)]
        list(pool.map(lambda pair: remote.get(*pair), found))
    _known.update(local for _, local in found)
    return copy


def original(copy: Path) -> str:
    """The URI that a file is a copy of. One that was made here, and not brought or taken, is taken
    there first. Raises StageFailure."""
    if copy not in _known:
        upload(copy)
    return str(uri_of(copy))


def is_known(path: Path) -> bool:
    """Whether this process knows that a file, or one of a folder, is there, too."""
    return any(known.is_relative_to(path) for known in _known)


def upload(copy: Path) -> None:
    """Make the original have what the copy, a folder or a file, has, and nothing else below it.
    Raises StageFailure."""
    uri = uri_of(copy)
    if copy.is_file():
        connect(uri).put(copy, uri.path)
    else:
        connect(uri).replace(copy, uri.path)
    _known.add(copy)


def remove(copy: Path) -> None:
    """Remove the original of a copy. Raises StageFailure."""
    uri = uri_of(copy)
    connect(uri).remove(uri.path)


def _found(uri: Uri) -> Iterator[str]:
    """The paths of the files that a URI names: one, those of a folder, those that fit a pattern."""
    parts = [part for part in uri.path.split("/") if part]
    literal = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    base = "/".join(parts[:literal])
    return (
        path for path in connect(uri).find(base) if path == base or _fits(path.split("/"), parts)
    )


def _fits(path: list[str], pattern: list[str]) -> bool:
    """Whether the path, or a folder that it is in, fits the pattern, part by part as in a shell."""
    return len(path) >= len(pattern) and all(
        fnmatch.fnmatchcase(part, wanted) if _GLOB.search(wanted) else part == wanted
        for part, wanted in zip(path, pattern, strict=False)
    )


def _at(uri: Uri, path: str) -> Uri:
    return Uri(uri.scheme, uri.authority, path)


def uri_of(copy: Path) -> Uri:
    """What a path is the copy of."""
    return Uri.of_copy(copy.relative_to(_root()).as_posix())


def _root() -> Path:
    return Path(os.environ.get(COPIES_DIR) or Path(tempfile.gettempdir()) / "trainingjob-copies")
