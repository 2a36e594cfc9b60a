"""Files of this machine and of mounted claims that must survive a crash."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..base.within import opened


def remove(path: Path) -> None:
    """Remove a file, a link or a folder. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def sync_tree(folder: Path) -> None:
    """Bring every file below ``folder`` to the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync_file(Path(root) / name)
        sync_file(Path(root))


def sync_file(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def files(folder: Path) -> list[str]:
    """The names of all files below ``folder``. Raises OSError."""
    return [
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
    ]


def discard(folder: Path, names: Iterable[str]) -> None:
    """Remove files below ``folder``, and the folders that are empty then, also itself. Raises
    OSError."""
    for name in (*names, ""):
        path = folder / name
        if name:
            path.unlink(missing_ok=True)
            path = path.parent
        with suppress(OSError):  # another one is in it
            while path.is_relative_to(folder):
                path.rmdir()
                path = path.parent


def state(path: Path) -> str | None:
    """Of what a file has; None when it is not there. Raises OSError."""
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except ValueError as error:  # a pipe in its place
        raise OSError(errno.EINVAL, str(error)) from error


def swap(path: Path, data: bytes, before: str | None) -> bool:
    """Put a file in the place of one of the state ``before``; whether it was of that. Raises
    OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.write_bytes(data)
        sync_file(aside)
        if before is None:
            if not _claimed(aside, path):
                return False
        else:
            with _locked(path):
                if state(path) != before:
                    return False
                aside.replace(path)
        sync_file(path.parent)
        return True
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Nobody else replaces the file meanwhile: whoever waits for it finds another one there. Where
    the file system has no locks, it is a matter of a moment."""
    with ExitStack() as stack:
        with suppress(OSError):
            file = stack.enter_context(path.open("r+b"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _claimed(aside: Path, path: Path) -> bool:
    """Give a file its name, unless one has it."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError:  # the file system has no links
        if path.exists():
            return False
        aside.replace(path)
    return True


def lock_of(name: str) -> str:
    """The name of the lock on a file, where a place has such."""
    return f".{name}.lock"
