"""A pod's copies of what is remote: a path below one folder stands for a URI."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import tempfile
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainingjob.api.payload import COPIES_DIR
from trainingjob.api.uris import Uri

from .remote import AT_ONCE, connect
from .streams import RemoteFile

# Copies whose originals are there.
_known: set[Path] = set()
# A connection that is cut costs one of these.
_PIECE_BYTES = 16 * 2**20
_GLOB = re.compile(r"[*?\[]")


def place(uri: Uri) -> Path:
    """Where this pod has its copy."""
    return _root() / uri.copy


def is_copy(path: Path) -> bool:
    """Whether a path stands for something remote."""
    return path.is_relative_to(_root())


def download(uri: Uri, but: str = "") -> Path:
    """Bring the file, the folder or, with ``*?[``, all that fit, where ``place`` says, without
    files whose names end in ``but``; what is not there is not brought. Raises StageFailure."""
    remote = connect(uri)

    def bring(path: str, size: int) -> None:
        file = RemoteFile(remote, path, size)
        _write(place(_at(uri, path)), iter(lambda: file.read(_PIECE_BYTES), b""))

    found = {path: size for path, size in _found(uri).items() if not (but and path.endswith(but))}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bring, found, found.values()))
    _known.update(place(_at(uri, path)) for path in found)
    return place(uri)


def bring(folder: Path, names: Iterable[str]) -> None:
    """Bring these files below the original of ``folder``. Raises StageFailure."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: download(uri_of(folder / name)), names))


def sizes(folder: Path) -> dict[str, int]:
    """The files that lie below the original of ``folder``, by their names relative to it, and their
    sizes. Raises StageFailure."""
    uri = uri_of(folder)
    found = connect(uri).find(uri.path)
    return {path.removeprefix(f"{uri.path}/"): size for path, size in found.items()}


def stream(copy: Path, size: int) -> RemoteFile:
    """The original of a copy, to be read from where it lies."""
    uri = uri_of(copy)
    return RemoteFile(connect(uri), uri.path, size)


def content(copy: Path, most: int) -> bytes:
    """What the original of a small file has. Raises FileNotFoundError, ValueError for one of more
    than ``most`` bytes, StageFailure."""
    uri = uri_of(copy)
    size = connect(uri).find(uri.path).get(uri.path)
    if size is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(uri))
    if size > most:
        raise ValueError(f"{uri} has more than {most} bytes")
    return stream(copy, size).readall()


def state(copy: Path) -> str | None:
    """That of a file's original; None when there is none. Raises StageFailure."""
    uri = uri_of(copy)
    return connect(uri).state(uri.path)


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


def _found(uri: Uri) -> dict[str, int]:
    """The files that a URI names, and their sizes: one, those of a folder, those that fit."""
    parts = [part for part in uri.path.split("/") if part]
    literal = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    base = "/".join(parts[:literal])
    return {
        path: size
        for path, size in connect(uri).find(base).items()
        if path == base or _fits(path.split("/"), parts)
    }


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


def _write(target: Path, pieces: Iterable[bytes]) -> None:
    """A file that is there when it is whole. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _root() -> Path:
    return Path(os.environ.get(COPIES_DIR) or Path(tempfile.gettempdir()) / "trainingjob-copies")
