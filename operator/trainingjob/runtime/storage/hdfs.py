"""A cluster of HDFS, by its own protocol and without Java.

Settings are Hadoop's own, from the files in ``$HADOOP_CONF_DIR``: name services, retries, users.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from hdfs_native import Client

from trainingjob.api.uris import HDFS

from ..base.errors import StageFailure
from ..base.text import one_line
from .disk import lock_of
from .hadoop import java_says, meaning
from .remote import AT_ONCE

# Else a NameNode that is not there is asked for three minutes before anybody is told.
_BOUNDED = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "200",
    "dfs.client.failover.sleep.max.millis": "1000",
}
_PIECE_BYTES = 8 * 2**20
_HELD_MILLIS = 60_000


class Cluster:
    """See ``Remote``. A folder takes the place of another one by two renames."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _client(self) -> Client:
        return Client(f"{HDFS.start}{self._name}", config=_BOUNDED)

    def find(self, path: str) -> Mapping[str, int]:
        with self._failures(path):
            try:
                info = self._client.get_file_info(f"/{path}")
                if not info.isdir:
                    return {path: info.length}
                found = self._client.list_status(f"/{path}", recursive=True)
                return {entry.path.lstrip("/"): entry.length for entry in found if not entry.isdir}
            except FileNotFoundError:
                return {}

    def read(self, path: str, start: int, end: int) -> bytes:
        with self._failures(path):
            return self._client.read(f"/{path}").read_range(start, end - start)

    def put(self, source: Path, path: str) -> None:
        folder, aside = _beside(path, uuid.uuid4().hex)
        with self._failures(path):
            self._client.mkdirs(f"/{folder}", create_parent=True)
        self._write(source, aside)
        with self._failures(path):
            self._client.rename(f"/{aside}", f"/{path}", overwrite=True)

    def replace(self, source: Path, path: str) -> None:
        (_, aside), (_, old) = _beside(path, "writing"), _beside(path, "old")
        for leftover in (aside, old):
            self.remove(leftover)
        files = [file for file in source.rglob("*") if file.is_file()]
        places = [f"{aside}/{file.relative_to(source).as_posix()}" for file in files]
        with self._failures(path):
            for parent in {place.rpartition("/")[0] for place in [f"{aside}/", *places]}:
                self._client.mkdirs(f"/{parent}", create_parent=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._write, files, places))
        with self._failures(path):
            with suppress(FileNotFoundError):  # there was none
                self._client.rename(f"/{path}", f"/{old}")
            self._client.rename(f"/{aside}", f"/{path}")
        self.remove(old)

    def remove(self, path: str) -> None:
        with self._failures(path):
            self._client.delete(f"/{path}", recursive=True)

    def discard(self, paths: Sequence[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.remove, paths))
        for folder in sorted({path.rpartition("/")[0] for path in paths}, reverse=True):
            # HDFS refuses when something is in it.
            with self._failures(folder), suppress(RuntimeError, OSError):
                while folder and self._client.delete(f"/{folder}", recursive=False):
                    folder = folder.rpartition("/")[0]

    def state(self, path: str) -> str | None:
        with self._failures(path):
            try:
                found = self._client.read(f"/{path}").read()
            except FileNotFoundError:
                return None
            return hashlib.sha256(found).hexdigest()

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        folder, aside = _beside(path, uuid.uuid4().hex)
        with self._failures(path):
            self._client.mkdirs(f"/{folder}", create_parent=True)
            with self._client.create(f"/{aside}") as target:
                target.write(data)
            try:
                if before is None:
                    return self._renamed(aside, path)
                with self._locked(path, aside):
                    if self.state(path) != before:
                        return False
                    self._client.rename(f"/{aside}", f"/{path}", overwrite=True)
                    return True
            finally:
                self._client.delete(f"/{aside}")

    def _renamed(self, aside: str, path: str) -> bool:
        """Give a file its name, unless one has it."""
        try:
            self._client.rename(f"/{aside}", f"/{path}")
        except FileExistsError:
            return False
        return True

    @contextmanager
    def _locked(self, path: str, aside: str) -> Iterator[None]:
        """Nobody else replaces the file meanwhile. Whoever holds the lock for longer than a minute
        is dead; by the NameNode's clock, which says how old ``aside`` is, too."""
        folder, _, name = path.rpartition("/")
        lock = f"/{folder}/{lock_of(name)}"
        began, written = time.monotonic(), self._client.get_file_info(f"/{aside}")
        while True:
            try:
                self._client.create(lock).close()
                break
            except FileExistsError:
                waited = (time.monotonic() - began) * 1000
            with suppress(FileNotFoundError):
                held = self._client.get_file_info(lock)
                if written.modification_time + waited - held.modification_time > _HELD_MILLIS:
                    self._client.delete(lock)
            time.sleep(0.2)
        try:
            yield
        finally:
            self._client.delete(lock)

    def _write(self, source: Path, path: str) -> None:
        with (
            source.open("rb") as file,
            self._failures(path),
            self._client.create(f"/{path}") as target,
        ):
            while piece := file.read(_PIECE_BYTES):
                target.write(piece)

    @contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        """Turn the library's errors into StageFailures."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if getattr(error, "errno", None) is not None:  # the pod's own disk
                raise
            text, uri = str(error), f"{HDFS.start}{self._name}/{path}"
            reason, words = meaning(text, self._name) or (
                "StorageFailed",
                java_says(text, r"RPCError\(\"[\w.$]+") or one_line(text),
            )
            raise StageFailure(reason, f"{uri}: {words}") from error


def _beside(path: str, purpose: str) -> tuple[str, str]:
    """The folder that a path is in, and a hidden name in it."""
    folder, slash, name = path.rpartition("/")
    return folder, f"{folder}{slash}.{name}.{purpose}"
