"""A cluster of HDFS, by its own protocol and without Java.

Settings are Hadoop's own, from the files in ``$HADOOP_CONF_DIR``: name services, retries, users.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from hdfs_native import Client

from trainingjob.api.uris import HDFS

from ..base.errors import StageFailure
from ..base.text import one_line
from .remote import AT_ONCE

# Else a NameNode that is not there is asked for three minutes before anybody is told.
_BOUNDED = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "200",
    "dfs.client.failover.sleep.max.millis": "1000",
}
_PIECE_BYTES = 8 * 2**20

# Java's exceptions, and what the library says itself -> the reason, and what to say. Of the first
# that the error has; the rest may pass by itself.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    ("AccessControlException", "StorageUnavailable", "access is denied: "),
    ("QuotaExceededException", "DiskFull", "a quota is used up: "),
    (
        "No NameNode hosts found",
        "StorageUnavailable",
        "{name} is no name service that is known here: its settings are in Hadoop's hdfs-site.xml, "
        "which storage.hdfs.configMap can bring; of a host also give the port",
    ),
    ("ParentNotDirectoryException", "StorageUnavailable", "a file is where a folder should be: "),
    ("No Kerberos credentials", "StorageUnavailable", "the cluster wants Kerberos: "),
    ("SafeModeException", "StorageFailed", "the NameNode is in safe mode"),
    ("StandbyException", "StorageFailed", "no NameNode of {name} is active"),
    ("All DataNodes failed", "StorageFailed", "no DataNode that has the data answers"),
    ("Connection refused", "StorageFailed", "no NameNode answers at {name}"),
    ("failed to lookup address", "StorageFailed", "there is no host of the name {name}"),
)
_RPC = re.compile(r'RPCError\("[\w.$]+", "((?:[^"\\]|\\.)*)')


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
            text = str(error)
            told = _RPC.search(text)
            # Java's stack is behind the first line.
            said = one_line((told[1] if told else text).replace('\\"', '"').partition("\\n")[0])
            uri = f"{HDFS.start}{self._name}/{path}"
            for sign, reason, words in _MEANINGS:
                if sign in text:
                    words = words.format(name=self._name) + (said if words.endswith(": ") else "")
                    raise StageFailure(reason, f"{uri}: {words}") from error
            raise StageFailure("StorageFailed", f"{uri}: {said}") from error


def _beside(path: str, purpose: str) -> tuple[str, str]:
    """The folder that a path is in, and a hidden name in it."""
    folder, slash, name = path.rpartition("/")
    return folder, f"{folder}{slash}.{name}.{purpose}"
