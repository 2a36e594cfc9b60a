"""Where data lies, and how it is written: aside, then renamed. Nothing else reads or writes there.

Stages work with paths. A path on a claim or of this machine is the data itself; one in the pod's
folder of copies stands for something remote: ``fetch`` brings it, ``store`` takes it there.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from trainingjob.api.payload import CLAIMS_DIR
from trainingjob.api.uris import FILE, Scheme, Uri

from ..base.errors import StageFailure
from ..base.within import content, files_in, opened
from . import copies, disk
from .copies import is_copy
from .publish import Place, Publication, place_of, publishing
from .streams import RemoteFile, ahead

__all__ = [
    "Place",
    "Publication",
    "RemoteFile",
    "ahead",
    "bring",
    "copy",
    "discard",
    "entries",
    "fetch",
    "from_spark",
    "is_copy",
    "names",
    "place_of",
    "publishing",
    "reach",
    "read",
    "remove",
    "require_on_claim",
    "resolve",
    "shown",
    "sizes",
    "source",
    "spark_uri",
    "store",
    "write_aside",
    "write_file",
]

_PIECE_BYTES = 2**20


def resolve(uri: str) -> Path:
    """The path in this pod; of what is remote that of the pod's copy, which ``fetch`` makes.

    Raises StageFailure(StorageUnavailable) when the claim is not mounted here.
    """
    found = Uri.parse(uri)
    if found.scheme is FILE:
        return Path(found.place)
    if found.scheme.remote:
        return copies.place(found)
    mounted = _claims() / found.authority
    if not mounted.is_dir():
        message = f"claim {found.authority} of {uri} is not mounted"
        raise StageFailure("StorageUnavailable", message)
    return mounted / found.path.lstrip("/")


def _claims() -> Path:
    return Path(os.environ.get(CLAIMS_DIR, "/mnt/claims"))


def reach(path: Path) -> None:
    """Raises StageFailure when what a path stands for is elsewhere and does not answer."""
    if is_copy(path):
        copies.state(path)


def fetch(uri: str, but: str = "") -> Path:
    """As ``resolve``, for reading: what is remote is brought first, but for files whose names end
    in ``but``. Raises StageFailure."""
    found = Uri.parse(uri)
    return copies.download(found, but) if found.scheme.remote else resolve(uri)


def read(uri: str, most: int = 2**24) -> bytes:
    """What a small file has. Raises FileNotFoundError, ValueError for what is no plain file or has
    more than ``most`` bytes, OSError, StageFailure."""
    path = resolve(uri)
    return copies.content(path, most) if is_copy(path) else content(path, most)


def bring(folder: Path, names: Iterable[str]) -> None:
    """Have these files of a folder here, too, where it is remote. Raises StageFailure."""
    if is_copy(folder):
        copies.bring(folder, names)


def source(path: Path, size: int) -> Path | RemoteFile:
    """What to read a file of ``size`` bytes by: its path or, of a copy that was not brought, its
    original from where it lies."""
    return path if path.exists() or not is_copy(path) else copies.stream(path, size)


def sizes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Those of these files below ``folder`` that are there, and their sizes in bytes, brought or
    not. Raises StageFailure."""
    names = list(names)
    found = {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
    if len(found) < len(names) and is_copy(folder):
        there = copies.sizes(folder)
        found |= {name: there[name] for name in names if name in there}
    return found


def entries(folder: Path) -> list[str] | None:
    """What lies in a folder or in the original of one, folders with a slash at the end; None when
    there is no such folder. Raises StageFailure."""
    if is_copy(folder):
        parts = (name.partition("/") for name in copies.sizes(folder))
        return sorted({f"{head}{slash}" for head, slash, _ in parts}) or None
    if not folder.is_dir():
        return None
    return sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())


def names(folder: Path) -> list[str]:
    """The files below a folder that is here, by their names relative to it, in order."""
    return files_in(folder)


def copy(source: Path, target: Path) -> None:
    """Have the files in a folder in another one, too. Not by links: own code may write the files of
    its model anew in place. Raises OSError, and StageFailure(StorageFailed) for a file in whose
    place there is a link now that leads out of the folder or of a pod's claim."""
    bounds = [bound for bound in (source, _claim_of(source)) if bound is not None]
    for name in files_in(source):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = opened(source / name, *bounds)
        except ValueError as error:
            raise StageFailure("StorageFailed", f"cannot copy a file: {error}") from error
        with file, path.open("wb") as made:
            shutil.copyfileobj(file, made, _PIECE_BYTES)


def require_on_claim(path: Path) -> Path:
    """Where a file or a folder lies, whatever links lead there. Raises
    StageFailure(InputUnreadable) when it is reached by a claim of a pod, and not on that."""
    real, claim = Path(os.path.realpath(path)), _claim_of(path)
    if claim is not None and not any(map(real.is_relative_to, (claim, claim.resolve()))):
        words = f"{path} is a link that leads out of the claim: have the file itself there"
        raise StageFailure("InputUnreadable", words)
    return real


def _claim_of(path: Path) -> Path | None:
    """In a pod, where the claim of a path is mounted: whoever writes to it may have put links there
    that lead to what the pod has elsewhere. On one machine claims are links to folders, whose links
    are the user's own."""
    claims = _claims()
    if not path.is_relative_to(claims) or path == claims:
        return None
    claim = claims / path.relative_to(claims).parts[0]
    return None if claim.is_symlink() else claim


def shown(path: Path) -> str:
    """A path as people are told of it: a copy by what it is a copy of."""
    return str(copies.uri_of(path)) if is_copy(path) else str(path)


def store(path: Path) -> None:
    """A folder or file was written in its place: where that is a copy, take it to the original."""
    if is_copy(path):
        copies.upload(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, and what it is a copy of, which need not have been brought.
    Raises OSError, StageFailure."""
    if is_copy(path):
        copies.remove(path)
        if not path.exists():
            return
    disk.remove(path)


def discard(folder: Path) -> None:
    """Remove a folder of files that helped, and what ``spark_uri`` made of it elsewhere. Nothing
    hangs on it: it is not said when that fails."""
    with suppress(OSError, StageFailure):
        if copies.is_known(folder):
            copies.remove(folder)
    shutil.rmtree(folder, ignore_errors=True)


def spark_uri(path: Path | str, but: Collection[Scheme] = ()) -> str:
    """How Spark, whose executors may be in other pods, is told of a file that this pod has: of a
    copy, what it is a copy of, ``but`` for these schemes. Raises StageFailure."""
    if not is_copy(Path(path)) or copies.uri_of(Path(path)).scheme in but:
        return f"{FILE.start}{path}"
    return copies.original(Path(path))


def from_spark(uri: str) -> str:
    """The path of this pod that Spark names by a URI, which is quoted."""
    found = unquote(uri)
    if found.startswith(f"{FILE.name}:"):
        return "/" + found.removeprefix(f"{FILE.name}:").lstrip("/")
    return str(copies.place(Uri.parse(found)))


@contextmanager
def write_aside(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that replaces it when the block succeeds.

    Readers see the old folder or the new one, never half of one. What an earlier writer that
    died has left behind is removed first.
    """
    aside = target.parent / f".{target.name}.writing"
    old = target.parent / f".{target.name}.old"
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        disk.sync_tree(aside)
        if target.exists():
            target.rename(old)
        aside.rename(target)
        disk.sync_file(target.parent)
        store(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_file(target: Path, text: str) -> None:
    """A file that replaces ``target``, whoever else writes it at the same time.

    Raises OSError, StageFailure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        aside.write_text(text, encoding="utf-8")
        disk.sync_file(aside)
        aside.replace(target)
        disk.sync_file(target.parent)
        store(target)
    finally:
        aside.unlink(missing_ok=True)
