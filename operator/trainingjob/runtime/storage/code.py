"""Own code of several files: what belongs to it, and the pod's copy of it.

All pods have the same files under the same relative paths, wherever the code comes from. What git
had lies in a volume, where the container that fetches it has left it, with notes about it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainingjob.api.payload import CodeRef
from trainingjob.api.printable import escaped

from ..base.errors import StageFailure, storage_errors
from ..base.text import listed
from . import copies, resolve
from .copies import is_copy

MOST_FILES = 5000
MOST_BYTES = 256 * 2**20
MOST_DEPTH = 32
# In the volume of what git had: the files, and what is to be said of them, a line each.
TREE, NOTES = "tree", "notes"
# Of tools, and no code.
_PASSED_OVER = {".git", ".hg", ".svn", ".venv", "__pycache__", ".ipynb_checkpoints"}
# A program, whose right to be run no object store keeps.
_PROGRAMS = (b"#!", b"\x7fELF")
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Total:
    """How much code there is, and what is to be said of it."""

    files: int
    size: int
    notes: Sequence[str] = ()


def place(code: CodeRef) -> str:
    """Where it comes from, in words."""
    if code.git is not None:
        folder = f" {code.git.path}" if code.git.path else ""
        return f"{code.git.url}{folder} at {code.git.commit[:12]}"
    return code.uri or ("the ConfigMap" if code.path else "the manifest")


def files(code: CodeRef) -> dict[str, Path]:
    """The files of code that lies in a folder, by their relative paths, in order; what is remote
    is brought. Raises StageFailure: ScriptMissing, ScriptInvalid, StorageUnavailable."""
    if code.git is not None:
        folder = Path(code.path or "") / TREE
        found = _checked(dict(_walk(folder, place(code))), place(code))
        return {name: folder / name for name in found}
    if code.uri is None:
        return _mounted(Path(code.path or ""))
    folder = resolve(code.uri)
    if not is_copy(folder):
        return {name: folder / name for name in _checked(dict(_walk(folder, code.uri)), code.uri)}
    # Before it is brought.
    names = _checked({n: s for n, s in copies.sizes(folder).items() if _counts(n)}, code.uri)
    copies.bring(folder, names)
    return {name: folder / name for name in names}


def bring(code: CodeRef, target: Path) -> Total:
    """A copy of the code in ``target``, which is there. Raises as ``files`` does."""
    if code.inline is not None:
        given: Mapping[str, bytes | Path] = {n: text.encode() for n, text in code.inline.items()}
    else:
        given = files(code)
    size, notes = 0, []
    pointers = []
    with storage_errors("copy the code"):
        if code.git is not None:
            notes = (Path(code.path or "") / NOTES).read_text(encoding="utf-8").splitlines()
        for name, source in given.items():
            data = _read(source) if isinstance(source, Path) else source
            if data.startswith(_POINTER):
                pointers.append(escaped(name))
            size += len(data)
            if size > MOST_BYTES:  # it has grown meanwhile
                raise too_much(f"more than {MOST_BYTES // 2**20} MiB", place(code))
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if data.startswith(_PROGRAMS):
                path.chmod(0o755)
    if pointers:
        what = f"{listed(pointers)}: of Git LFS there is the pointer, and not the file"
        notes.append(f"{what}: bring it by a volume or train.dataset, or commit it as it is")
    return Total(len(given), size, notes)


def _mounted(folder: Path) -> dict[str, Path]:
    """Those of a ConfigMap: a kubelet shows each key as a link into a folder `..data`."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".."))
    except OSError as error:
        message = f"cannot read the code: {error.strerror} ({folder})"
        raise StageFailure("ScriptMissing", message) from error
    return {name: (folder / name).resolve() for name in names}


def _walk(folder: Path, uri: str) -> Iterator[tuple[str, int]]:
    """The files below a folder with their sizes. Raises StageFailure."""
    if not folder.is_dir():
        what = "is a file, and code is a folder" if folder.exists() else "is not there"
        raise StageFailure("ScriptMissing", f"cannot read the code: {uri} {what}")
    entries = 0
    waiting = [folder]
    while waiting:
        with storage_errors("read the code"), os.scandir(waiting.pop()) as found:
            for entry in found:
                name = Path(entry.path).relative_to(folder).as_posix()
                entries += 1
                if entries > 4 * MOST_FILES:
                    raise too_much(f"more than {4 * MOST_FILES} files and folders", uri)
                if entry.name in _PASSED_OVER:
                    continue
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    if name.count("/") + 1 >= MOST_DEPTH:
                        raise too_much(f"{name} lies more than {MOST_DEPTH} folders deep", uri)
                    waiting.append(Path(entry.path))
                elif stat.S_ISREG(about.st_mode):
                    yield name, about.st_size
                else:
                    what = "a link" if entry.is_symlink() else "no file"
                    message = f"{name} of the code in {uri} is {what}: have the file itself there"
                    raise StageFailure("ScriptInvalid", message)


def _counts(name: str) -> bool:
    return not _PASSED_OVER & {*PurePosixPath(name).parts}


def _checked(sizes: Mapping[str, int], uri: str) -> list[str]:
    """The names, in order, once it is known that they are not too many."""
    if not sizes:
        raise StageFailure("ScriptMissing", f"there are no files of code in {uri}")
    if len(sizes) > MOST_FILES:
        raise too_much(f"{len(sizes)} files, of which {MOST_FILES} are the most", uri)
    if (total := sum(sizes.values())) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        words = f"{total / 2**20:.0f} MiB, of which {MOST_BYTES // 2**20} are the most; the "
        raise too_much(f"{words}largest file is {largest}", uri)
    for name in sizes:
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise StageFailure("ScriptInvalid", f"{name} of the code in {uri} is no relative path")
    return sorted(sizes)


def too_much(what: str, uri: str) -> StageFailure:
    """ScriptInvalid."""
    message = f"the code in {uri} is too much: {what}. Data belongs into train.dataset or a volume"
    return StageFailure("ScriptInvalid", message)


def _read(path: Path) -> bytes:
    """Without following a link that has come in the file's place meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MOST_BYTES + 1)
