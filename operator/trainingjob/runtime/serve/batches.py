"""Requests that wait are answered together, by one thread.

Nobody waits for company: whatever has come while the thread was at work is its next batch. Under
load batches grow, and one request by itself is answered at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from ..preprocess.fitted.columns import Columns
from .served import Answers, BadRow

# Of a batch of several requests. A column of texts cannot have 2 GiB or more, and the steps may
# make long texts of short ones.
MOST_ROWS = 4096
MOST_BYTES = 16 * 2**20


class Busy(Exception):
    """As many rows wait as may."""


@dataclass
class _Waiting:
    columns: Columns
    rows: int
    bytes: int
    answers: asyncio.Future[Answers]


class Batches:
    """``work`` answers rows; ``most_queued`` rows may wait; ``told`` how many are in a batch.
    Together with others at most ``most_rows`` are answered."""

    def __init__(
        self,
        work: Callable[[Columns], Answers],
        most_queued: int,
        told: Callable[[int], None] = lambda rows: None,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._work, self._most_queued, self._told = work, most_queued, told
        self._most_rows = most_rows
        self._waiting: deque[_Waiting] = deque()
        self.queued = 0
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    async def answers(self, columns: Columns, rows: int) -> Answers:
        """Of some rows. Raises Busy, BadRow."""
        if self.queued + rows > self._most_queued:
            raise Busy
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        size = sum(column.nbytes for column in columns.values())
        one = _Waiting(columns, rows, size, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self.queued += rows
        self._some.set()
        try:
            return await one.answers
        finally:
            one.columns = {}  # of one that has gone: its place in the queue holds nothing

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while batch := self._next():
                await self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """Those that are next; whoever has gone meanwhile is asked for nothing."""
        batch: list[_Waiting] = []
        rows = size = 0
        while self._waiting:
            one = self._waiting[0]
            if batch and (rows + one.rows > self._most_rows or size + one.bytes > MOST_BYTES):
                break
            self._waiting.popleft()
            self.queued -= one.rows
            if not one.answers.done():
                batch.append(one)
                rows += one.rows
                size += one.bytes
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._work, _together(batch))
        except BadRow as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            # Some of them are at fault, which is no other's business. By halves, so that the
            # others are still answered together.
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if some := [one for one in half if not one.answers.done()]:
                    await self._answer(some)
            return
        except Exception as error:  # a mistake of ours, or of memory: the next batch may go
            _fail(batch, error)
            return
        self._told(sum(one.rows for one in batch))
        start = 0
        for one in batch:
            if not one.answers.done():
                one.answers.set_result(found.part(start, start + one.rows))
            start += one.rows

    async def close(self) -> None:
        """Once nobody waits any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)


def _together(batch: list[_Waiting]) -> Columns:
    if len(batch) == 1:
        return batch[0].columns
    return {
        name: pa.concat_arrays([one.columns[name] for one in batch]) for name in batch[0].columns
    }


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.answers.done():
            one.answers.set_exception(error)
