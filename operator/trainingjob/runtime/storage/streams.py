"""Remote files that are read from where they lie, and not brought to the pod's disk first."""

from __future__ import annotations

import io
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from ..base.errors import StageFailure
from ..base.log import log
from .remote import AT_ONCE, Remote

# One after the other these fill no line; and what lies between two ranges costs less than a
# further request.
_PIECE_BYTES = 8 * 2**20
_GAP_BYTES = 2**18
_WAITS = (0.5, 1.0, 2.0, 4.0)

Range = tuple[int, int]
Item = TypeVar("Item")
Made = TypeVar("Made")


class RemoteFile(io.RawIOBase):
    """A file of ``size`` bytes: what is held comes from memory, the rest is asked for as it is
    read. Methods raise StageFailure."""

    def __init__(self, remote: Remote, path: str, size: int) -> None:
        self._remote, self._path, self.size = remote, path, size
        self._at = 0
        self._starts: list[int] = []
        self._pieces: list[bytes] = []

    def hold(self, ranges: Iterable[Range]) -> None:
        """Bring these bytes, from start to end each, many at once; they stay in memory."""
        wanted = list(_pieces_of(ranges))
        self._pieces = list(_pool().map(lambda piece: self._bring(*piece), wanted))
        self._starts = [start for start, _ in wanted]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = base + offset
        return self._at

    def readall(self) -> bytes:
        return self.read(-1)

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        found = self._held(self._at, end) if end > self._at else b""
        if found is None:
            found = self._bring(self._at, end)
        self._at += len(found)
        return found

    def _held(self, start: int, end: int) -> bytes | None:
        """None unless all of it is held."""
        parts = []
        index = bisect_right(self._starts, start) - 1
        while start < end:
            if not 0 <= index < len(self._pieces):
                return None
            offset = start - self._starts[index]
            part = self._pieces[index][offset : offset + end - start]
            if offset < 0 or not part:
                return None
            parts.append(part)
            start += len(part)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _bring(self, start: int, end: int) -> bytes:
        """It was there a moment ago: a server that starts anew, or a line that was cut, is waited
        for."""
        for wait in _WAITS:
            try:
                return self._remote.read(self._path, start, end)
            except StageFailure as failure:
                if failure.reason != "StorageFailed":
                    raise
                log(f"{failure.message}; trying again in {wait:g} s")
                time.sleep(wait)
        return self._remote.read(self._path, start, end)


def ahead(items: Sequence[Item], make: Callable[[Item], Made]) -> Iterator[tuple[Item, Made]]:
    """Each item with what is made of it; the next one is made in a thread meanwhile."""
    if not items:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(make, items[0])
        for index, item in enumerate(items):
            made = coming.result()
            if index + 1 < len(items):
                coming = pool.submit(make, items[index + 1])
            yield item, made
            del made


def _pieces_of(ranges: Iterable[Range]) -> Iterator[Range]:
    """In order, put together where they are near each other, none too large."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1] + _GAP_BYTES:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    for start, end in joined:
        for piece in range(start, end, _PIECE_BYTES):
            yield piece, min(piece + _PIECE_BYTES, end)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remote")
