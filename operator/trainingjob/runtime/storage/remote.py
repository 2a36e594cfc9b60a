"""What a remote place can do, and the one table of those that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from trainingjob.api.uris import AZ, GS, HDFS, S3, Scheme, Uri

# Small files cost a round trip each, and large ones fill a line together.
AT_ONCE = 8


class Remote(Protocol):
    """Files elsewhere, by their paths there, without a slash before them.

    Raises StageFailure: StorageUnavailable for what does not pass by itself, such as a missing
    bucket or missing rights; StorageFailed for what may; OSError of the pod's own disk.
    """

    def find(self, path: str) -> Mapping[str, int]:
        """The file of this path, or all that lie below it, with their sizes in bytes; none when
        there is neither."""

    def read(self, path: str, start: int, end: int) -> bytes:
        """A file's bytes from ``start`` to before ``end``, which it has."""

    def put(self, source: Path, path: str) -> None:
        """Take a file there; readers see the old one or the new one."""

    def replace(self, source: Path, path: str) -> None:
        """Make the folder have what the folder ``source`` has, and nothing else. Readers that go
        by the file that says that it is complete see the old one, none, or the new one."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if there is one."""

    def discard(self, paths: Sequence[str], root: str) -> None:
        """Remove files, those of them that are there, and the folders that are empty then, up to
        ``root``."""

    def state(self, path: str) -> str | None:
        """What changes whenever a file does; None when it is not there."""

    def swap(self, path: str, data: bytes, before: str | None) -> bool:
        """Put a small file in the place of one that is in the state ``before``; whether it was.
        Of several that try at once one does it."""


def _hdfs(name: str) -> Remote:
    from .hdfs import Cluster

    return Cluster(name)


def _s3(bucket: str) -> Remote:
    from .s3 import Bucket

    return Bucket(bucket)


def _gs(bucket: str) -> Remote:
    from .gs import Bucket

    return Bucket(bucket)


def _az(container: str) -> Remote:
    from .az import Container

    return Container(container)


# How each remote scheme is connected to, by the URI's authority. The libraries are imported when
# they are needed.
_REMOTES: dict[Scheme, Callable[[str], Remote]] = {
    S3: _s3,
    GS: _gs,
    AZ: _az,
    HDFS: _hdfs,
}


def connect(uri: Uri) -> Remote:
    """The bucket or the cluster that a URI is of."""
    return _connected(uri.scheme, uri.authority)


@cache
def _connected(scheme: Scheme, authority: str) -> Remote:
    return _REMOTES[scheme](authority)
