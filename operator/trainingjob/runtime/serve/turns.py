"""Texts that are generated take turns, a token each, in one thread: a long one keeps no short one
waiting, and each is what it would be alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ..model.generation import Piece

# That take turns, each of which holds the model's memory of its text, and that wait for it.
MOST_AT_ONCE, MOST_WAITING = 8, 64


class Busy(Exception):
    """As many wait as may."""


@dataclass(eq=False)
class _One:
    pieces: Iterator[Piece]
    # The next ones; None: there are no more.
    given: asyncio.Queue[Piece | Exception | None] = field(default_factory=asyncio.Queue)
    left: bool = False


class Turns:
    """Of one model. ``waiting``: at most so many."""

    def __init__(self, waiting: int = MOST_WAITING) -> None:
        self._most = waiting
        self._thread = ThreadPoolExecutor(1, "generate")
        self._at_work: list[_One] = []
        self._waiting: deque[_One] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextmanager
    def taken(self, pieces: Iterator[Piece]) -> Iterator[AsyncIterator[Piece]]:
        """The pieces as they come, as long as somebody is there to take them. Raises Busy, and what
        they raise."""
        if len(self._waiting) >= self._most:
            raise Busy
        one = _One(pieces)
        self._waiting.append(one)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            yield _each(one)
        finally:
            one.left = True
            with suppress(ValueError):
                self._waiting.remove(one)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._at_work = [one for one in self._at_work if not one.left]
            while self._waiting and len(self._at_work) < MOST_AT_ONCE:
                self._at_work.append(self._waiting.popleft())
            if not self._at_work:
                return
            turns = [*self._at_work]
            found = await loop.run_in_executor(self._thread, _round, turns)
            for one, piece in zip(turns, found, strict=True):
                one.given.put_nowait(piece)
                one.left |= not isinstance(piece, Piece)

    async def close(self) -> None:
        """Once nobody asks any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()


async def _each(one: _One) -> AsyncIterator[Piece]:
    while (piece := await one.given.get()) is not None:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def _round(turns: list[_One]) -> list[Piece | Exception | None]:
    found: list[Piece | Exception | None] = []
    for one in turns:
        try:
            found.append(None if one.left else next(one.pieces, None))
        except Exception as error:  # of this one alone
            found.append(error)
    return found
