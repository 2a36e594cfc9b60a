"""Folders that one file makes what they are: all others lie there first, and it names them.

Readers have the old folder or the new one, wherever a writer dies. Names differ from writer to
writer, so that none overwrites what another one, or a reader, has; of two the first one wins.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from trainingjob.api.uris import Uri

from ..base.errors import StageFailure
from . import copies, disk
from .remote import Remote, connect


@dataclass(frozen=True)
class Place:
    """A folder that any process on any machine puts files into; it may be pickled.

    ``where``: its path, or the URI of what is remote. ``stamp``: in the names of what its writer
    puts there. Methods raise OSError, StageFailure."""

    where: str
    stamp: str
    within: str = ""  # the folder below it that names are relative to, with its slash

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """A path of this machine to write a file to, before it is ``put``."""
        folder = Path(tempfile.gettempdir() if self._remote else self.where)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".trainingjob-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def make(self, folder: str) -> None:
        """A folder in it, where there are such without files."""
        if self._remote is None:
            self._local(folder).mkdir(parents=True, exist_ok=True)

    def put(self, aside: Path, name: str) -> None:
        """Have the file there, whole or not at all, under a name below the folder."""
        if self._remote is not None:
            self._remote.put(aside, self._path(name))
            aside.unlink()
        else:
            target = self._local(name)
            disk.sync_file(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
            disk.sync_file(target.parent)

    def write(self, name: str, text: str) -> None:
        """Likewise a small file of this text."""
        with self.aside() as aside:
            aside.write_text(text, encoding="utf-8")
            self.put(aside, name)

    def below(self, folder: str) -> Place:
        """A folder in this one."""
        return replace(self, within=f"{self.within}{folder}/")

    def files(self) -> list[str]:
        """The names of all files there."""
        if self._remote is not None:
            prefix = self._path("")
            return [path.removeprefix(prefix) for path in self._remote.find(prefix.rstrip("/"))]
        return disk.files(self._local(""))

    def state(self, name: str) -> str | None:
        """What changes whenever the file does; None when it is not there."""
        if self._remote is not None:
            return self._remote.state(self._path(name))
        return disk.state(self._local(name))

    def swap(self, name: str, text: str, state: str | None) -> bool:
        """Put a file of this text in the place of one of that state; False when that has changed,
        unless to this very text."""
        if self._remote is not None:
            swapped = self._remote.swap(self._path(name), text.encode(), state)
        else:
            swapped = disk.swap(self._local(name), text.encode(), state)
        # Asked for twice, since the first answer got lost?
        return swapped or self.read(name) == text

    def discard(self, names: Collection[str]) -> None:
        """Remove these files, and the folders that are empty then."""
        if self._remote is not None:
            root = self._path("").rstrip("/")
            self._remote.discard([self._path(name) for name in names], root)
        else:
            disk.discard(self._local(""), names)

    def read(self, name: str) -> str:
        """A small file's text; "" when it is not there."""
        if self._remote is None:
            path = self._local(name)
            return path.read_text(encoding="utf-8") if path.is_file() else ""
        found = self._remote.find(self._path(name))
        return "".join(
            self._remote.read(path, 0, size).decode() for path, size in found.items() if size
        )

    def _local(self, name: str) -> Path:
        return Path(self.where, self.within, name)

    def _path(self, name: str) -> str:
        return f"{Uri.parse(self.where).path.rstrip('/')}/{self.within}{name}".lstrip("/")

    @cached_property
    def _remote(self) -> Remote | None:
        return None if Path(self.where).is_absolute() else connect(Uri.parse(self.where))

    def __getstate__(self) -> dict[str, str]:
        return {"where": self.where, "stamp": self.stamp, "within": self.within}


def place_of(path: Path) -> Place:
    """Where a path, or what it is a copy of, is written, with a stamp of its own."""
    where = str(copies.uri_of(path)) if copies.is_copy(path) else str(path)
    return Place(where, uuid.uuid4().hex[:8])


def _any(name: str) -> bool:
    return True


class Publication:
    """What is new in a folder, until ``commit`` makes it what the folder has."""

    def __init__(self, target: Path, marker: str, ours: Callable[[str], bool] = _any) -> None:
        self.place = place_of(target)
        self._marker = marker
        self._ours = ours
        self._before = self.place.state(marker)

    def commit(self, text: str, named: Collection[str]) -> bool:
        """Let the marker have this text, which names the files ``named``; what else of ours lies
        there is removed. False when another writer has committed since this one began, and nothing
        was done.

        Raises OSError, StageFailure: also when nobody knows whether it was done."""
        # Of those that begin later nothing is touched.
        there = self.place.files()
        if not self.place.swap(self._marker, text, self._before):
            return False
        kept = {*named, self._marker, disk.lock_of(self._marker)}
        with suppress(OSError, StageFailure):  # the next commit does it
            self.place.discard([name for name in there if name not in kept and self._ours(name)])
        return True

    def withdraw(self) -> None:
        """Remove what was put there, unless it was committed, which may have been done although
        nobody said so. Nothing hangs on it: it is not said when that fails."""
        with suppress(OSError, StageFailure):
            stamp = self.place.stamp
            if stamp in self.place.read(self._marker):
                return
            self.place.discard([name for name in self.place.files() if stamp in name])


@contextmanager
def publishing(
    target: Path, marker: str, ours: Callable[[str], bool] = _any
) -> Iterator[Publication]:
    """A publication that is withdrawn when the block fails. ``ours``: which files, by their names
    below the folder, may be of earlier ones; all when unset. Raises OSError, StageFailure."""
    new = Publication(target, marker, ours)
    try:
        yield new
    except Exception:
        new.withdraw()
        raise
