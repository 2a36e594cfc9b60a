"""A gang of a thousand leaves room for the calls of others."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from trainingjob.controller.lanes import Lanes

CONNECTIONS = 8


class Server:
    """Answers in the order in which it was asked, over so many connections."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def call(self, name: str) -> str:
        async with self._connections:
            await asyncio.sleep(0)
            self.answered.append(name)
            return name


async def test_what_others_ask_does_not_stand_behind_a_whole_gang() -> None:
    server, lanes = Server(), Lanes(CONNECTIONS // 2)
    gangs = [
        asyncio.create_task(lanes.all("large", [partial(server.call, f"{n}") for n in range(500)]))
        for _ in range(7)
    ]
    await asyncio.sleep(0)
    other = lanes.all("other", [partial(server.call, "other")])
    assert await other == ["other"]
    before = len(server.answered)
    assert before <= 2 * CONNECTIONS, f"{before} calls were answered before"
    assert [await gang for gang in gangs] == [[f"{n}" for n in range(500)]] * 7


async def test_what_fails_does_so_for_its_caller_alone() -> None:
    lanes = Lanes(1)

    async def fail() -> str:
        raise OSError("no")

    async def work() -> str:
        return "done"

    with pytest.raises(OSError, match="no"):
        await lanes.all("one", [fail, work])
    assert await lanes.all("one", [work, work]) == ["done", "done"]
    assert await lanes.all("one", []) == []
