"""A cluster of HDFS, by its own protocol and without Java.

Settings are Hadoop's own, from the files in ``$HADOOP_CONF_DIR``: name services, retries, users.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from hdfs_native import Client, WriteOptions

from trainingjob.api.uris import HDFS

from ..base.errors import StageFailure
from ..base.log import log
from ..base.text import one_line
from ..base.within import files_in
from .disk import lock_of
from .hadoop import java_says, meaning
from .kerberos import keytab
from .remote import AT_ONCE

# Else a NameNode that is not there is asked for three minutes before anybody is told.
_BOUNDED = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "200",
    "dfs.client.failover.sleep.max.millis": "1000",
}
# NameNodes that fail over, a safe mode that ends and a DataNode that starts anew are waited for;
# after so long people are told.
_PATIENCE_SECONDS = 8.0
_WAITS = (0.5, 1.0, 2.0)
_KERBEROS = ("kerberos_principal", "kerberos_keytab")
_PIECE_BYTES = 8 * 2**20
_HELD_MILLIS = 60_000

Found = TypeVar("Found")


class Cluster:
    """See ``Remote``. A folder takes the place of another one by two renames."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _client(self) -> Client:
        found = keytab()
        who = {} if found is None else dict(zip(_KERBEROS, found, strict=True))
        return Client(f"{HDFS.start}{self._name}", config=_BOUNDED, **who)

    def find(self, path: str) -> Mapping[str, int]:
        return self._patiently(path, lambda: self._find(path))

    def read(self, path: str, start: int, end: int) -> bytes:
        # Whoever reads piece by piece tries again by itself.
        with self._failures(path):
            return self._client.read(f"/{path}").read_range(start, end - start)

    def put(self, source: Path, path: str) -> None:
        folder, aside = _beside(path, uuid.uuid4().hex)
        self._make_folder(folder)
        self._write(source, aside)
        self._rename(aside, path, overwrite=True)

    def replace(self, source: Path, path: str) -> None:
        (_, aside), (_, old) = _beside(path, "writing"), _beside(path, "old")
        for leftover in (aside, old):
            self.remove(leftover)
        files = [source / name for name in files_in(source)]
        places = [f"{aside}/{file.relative_to(source).as_posix()}" for file in files]
        for parent in {place.rpartition("/")[0] for place in [f"{aside}/", *places]}:
            self._make_folder(parent)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._write, files, places))
        if self._patiently(path, lambda: self._exists(path)):
            self._rename(path, old)
        self._rename(aside, path)
        self.remove(old)

    def remove(self, path: str) -> None:
        self._patiently(path, lambda: self._client.delete(f"/{path}", recursive=True))

    def _find(self, path: str) -> dict[str, int]:
        try:
            info = self._client.get_file_info(f"/{path}")
            if not info.isdir:
                return {path: info.length}
            found = self._client.list_status(f"/{path}", recursive=True)
            return {entry.path.lstrip("/"): entry.length for entry in found if not entry.isdir}
        except FileNotFoundError:
            return {}

    def _exists(self, path: str) -> bool:
        try:
            self._client.get_file_info(f"/{path}")
        except FileNotFoundError:
            return False
        return True

    def _make_folder(self, path: str) -> None:
        self._patiently(path, lambda: self._client.mkdirs(f"/{path}", create_parent=True))

    def _rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        tries = 0

        def rename() -> None:
            nonlocal tries
            tries += 1
            try:
                self._client.rename(f"/{source}", f"/{target}", overwrite=overwrite)
            except FileNotFoundError:
                # It may be done, and the answer was lost with the NameNode.
                if tries == 1 or not self._exists(target):
                    raise

        self._patiently(target, rename)

    def discard(self, paths: Sequence[str], root: str) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.remove, paths))
        for folder in sorted({path.rpartition("/")[0] for path in paths}, reverse=True):
            # HDFS refuses when something is in it.
            with self._failures(folder), suppress(RuntimeError, OSError):
                while f"{folder}/".startswith(f"{root}/") and self._client.delete(
                    f"/{folder}", recursive=False
                ):
                    folder = folder.rpartition("/")[0]

    def state(self, path: str) -> str | None:
        return self._patiently(path, lambda: self._state(path))

    def _state(self, path: str) -> str | None:
        try:
            found = self._client.read(f"/{path}").read()
        except FileNotFoundError:
            return None
        return hashlib.sha256(found).hexdigest()

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        folder, aside = _beside(path, uuid.uuid4().hex)
        self._make_folder(folder)
        self._patiently(aside, lambda: self._fill(aside, data))
        # What follows is done once: after an answer that was lost nobody knew who has won.
        with self._failures(path):
            try:
                if before is None:
                    return self._renamed(aside, path)
                with self._locked(path, aside):
                    if self._state(path) != before:
                        return False
                    self._client.rename(f"/{aside}", f"/{path}", overwrite=True)
                    return True
            finally:
                self._client.delete(f"/{aside}")

    def _fill(self, path: str, data: bytes) -> None:
        with self._client.create(f"/{path}", WriteOptions(overwrite=True)) as target:
            target.write(data)

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
                held = self._client.get_file_info(lock).modification_time
                if written.modification_time + waited - held > _HELD_MILLIS:
                    self._unlock(lock, held)
            time.sleep(0.2)
        mine = self._client.get_file_info(lock).modification_time
        try:
            yield
        finally:
            self._unlock(lock, mine)

    def _unlock(self, lock: str, held: int) -> None:
        """Remove a lock, if it still is the one that was made then: of several who find that its
        holder is dead, one can take it away, and nobody the lock that comes after it."""
        away = f"{lock}.{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            self._client.rename(lock, away)
            if self._client.get_file_info(away).modification_time != held:
                with suppress(FileExistsError):
                    self._client.rename(away, lock)
                    return
            self._client.delete(away)

    def _write(self, source: Path, path: str) -> None:
        def write() -> None:
            with (
                source.open("rb") as file,
                self._client.create(f"/{path}", WriteOptions(overwrite=True)) as target,
            ):
                while piece := file.read(_PIECE_BYTES):
                    target.write(piece)

        self._patiently(path, write)

    def _patiently(self, path: str, call: Callable[[], Found]) -> Found:
        """Try again what may pass by itself, unless that would take too long. Raises StageFailure,
        and OSError of the pod's own disk."""
        until = time.monotonic() + _PATIENCE_SECONDS
        for wait in (*_WAITS, _WAITS[-1]):
            began = time.monotonic()
            try:
                with self._failures(path):
                    return call()
            except StageFailure as failure:
                now = time.monotonic()
                # The next try may take as long as this one.
                if failure.reason != "StorageFailed" or now + wait + (now - began) > until:
                    raise
                log(f"{failure.message}; trying again in {wait:g} s")
                time.sleep(wait)
        with self._failures(path):
            return call()

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
