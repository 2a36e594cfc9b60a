"""How many calls about a gang are under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

# Of the connections that there are, a half: a gang of a thousand that is suspended would have a
# thousand calls stand before everybody else's.
AT_ONCE = 16


class Lanes:
    """Each namespace has one."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def all(self, namespace: str, calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
        """What they return, in their order; those of a namespace wait for each other."""
        lane = self._lanes.get(namespace)
        if lane is None:
            lane = self._lanes[namespace] = asyncio.Semaphore(self._at_once)

        async def one(call: Callable[[], Awaitable[T]]) -> T:
            async with lane:
                return await call()

        return await asyncio.gather(*map(one, calls))
