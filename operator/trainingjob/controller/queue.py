"""The work queue: which job is looked at next.

As client-go's: a key is in it once however often it is added, is never handed out twice at a time,
and comes again when it was added meanwhile. Jobs that have begun come before those that have not:
under load jobs are finished rather than all begun at once. One turn in four is for those that have
not, so that none waits for ever, and namespaces take turns in both. However slowly the jobs of one
are looked at, the last workers are for the others. Failed keys come back later and later.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# A first retry soon, since most refusals are conflicts with a write that the watch is about to
# tell; the last ones seldom enough to be no load when a thousand jobs wait for a quota.
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 60.0
_MOST_DOUBLINGS = 12
# The share of turns that jobs have that have not begun, while others wait that have.
_TURNS = 4


def _first(key: Any) -> Hashable:
    """Of the key of an object: its namespace."""
    first: Hashable = key[0]
    return first


class _Line(Generic[K]):
    """Keys in the order in which they were added, but that namespaces take turns."""

    def __init__(self, namespace: Callable[[K], Hashable]) -> None:
        self._namespace = namespace
        # Namespace, the next one first -> key -> when it was added.
        self._waiting: OrderedDict[Hashable, OrderedDict[K, float]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: K) -> bool:
        return key in self._waiting.get(self._namespace(key), ())

    def add(self, key: K) -> None:
        self._waiting.setdefault(self._namespace(key), OrderedDict())[key] = time.monotonic()
        self._count += 1

    def next(self, but: Container[Hashable]) -> Hashable | None:
        """The namespace whose turn it is, of those that are not ``but``."""
        return next((namespace for namespace in self._waiting if namespace not in but), None)

    def pop(self, namespace: Hashable) -> K:
        keys = self._waiting[namespace]
        key, _ = keys.popitem(last=False)
        self._count -= 1
        if keys:
            self._waiting.move_to_end(namespace)
        else:
            del self._waiting[namespace]
        return key

    def oldest(self) -> float:
        """When the first key was added; infinity when there is none."""
        first = (next(iter(keys.values())) for keys in self._waiting.values())
        return min(first, default=float("inf"))


class WorkQueue(Generic[K]):
    """Used from one event loop. ``begun`` tells whether a key's job has been acted on,
    ``namespace`` who is to have a turn. When ``shared`` keys are handed out, there are more for
    namespaces alone that have none of them."""

    def __init__(
        self,
        begun: Callable[[K], bool] = lambda key: True,
        namespace: Callable[[K], Hashable] = _first,
        shared: int = sys.maxsize,
    ) -> None:
        self._begun = begun
        self._namespace = namespace
        self._shared = shared
        # How many are handed out, by namespace.
        self._busy: Counter[Hashable] = Counter()
        # The first is served first, but for one turn in four.
        self._lines: tuple[_Line[K], _Line[K]] = (_Line(namespace), _Line(namespace))
        self._turn = 0
        self._handed_out: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._waiting = asyncio.Event()

    @property
    def depth(self) -> int:
        """Keys that wait for a worker; those that wait for their time are not counted."""
        return sum(map(len, self._lines)) + len(self._again)

    @property
    def oldest_seconds(self) -> float:
        """How long the key that waits longest has waited."""
        return max(0.0, time.monotonic() - min(line.oldest() for line in self._lines))

    def add(self, key: K) -> None:
        """The key wants to be looked at now."""
        self._cancel(key)
        if key in self._handed_out:
            self._again.add(key)
            return
        if any(key in line for line in self._lines):
            return
        self._lines[0 if self._begun(key) else 1].add(key)
        self._waiting.set()

    def add_after(self, key: K, seconds: float) -> None:
        """The key wants to be looked at in some seconds, unless it is sooner."""
        if key in self._again or any(key in line for line in self._lines):
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """The key failed; it comes back in as many seconds as are returned."""
        failures: int = min(self._failures.get(key, 0), _MOST_DOUBLINGS)
        self._failures[key] = failures + 1
        longest = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0**failures)
        # Half of it at random: jobs that failed together shall not come back together.
        seconds = max(at_least, longest * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: K) -> None:
        """The key's failures are forgotten."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; the caller says ``done`` when it has looked at it."""
        while True:
            busy = self._busy if len(self._handed_out) >= self._shared else ()
            begun, new = (line.next(busy) for line in self._lines)
            if begun is not None or new is not None:
                self._turn = (self._turn + 1) % _TURNS
                second = new is not None and (begun is None or self._turn == 0)
                key = self._lines[second].pop(new if second else begun)
                self._handed_out.add(key)
                self._busy[self._namespace(key)] += 1
                return key
            self._waiting.clear()
            await self._waiting.wait()

    def done(self, key: K) -> None:
        """The key may be handed out again."""
        self._handed_out.discard(key)
        namespace = self._namespace(key)
        self._busy[namespace] -= 1
        if self._busy[namespace] <= 0:
            del self._busy[namespace]
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif any(map(len, self._lines)):
            self._waiting.set()  # for one that may be handed out now

    def _cancel(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
