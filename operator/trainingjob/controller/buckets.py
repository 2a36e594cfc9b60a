"""How often somebody may do something: token buckets, by key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Keys that are remembered. Who was not seen for longer than the others has a full bucket by then.
_REMEMBERED = 10_000


class Buckets(Generic[K]):
    """``rate`` a second in the long run, ``burst`` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1.0 / rate
        self._slack = (burst - 1) * self._interval
        # Key -> when its bucket is full again.
        self._full: OrderedDict[K, float] = OrderedDict()

    def wait(self, key: K, now: float) -> float:
        """Take a token, 0; or take none, the seconds until there is one."""
        full = max(now, self._full.get(key, now))
        if full - now > self._slack:
            return full - now - self._slack
        self._full[key] = full + self._interval
        self._full.move_to_end(key)
        if len(self._full) > _REMEMBERED:
            self._full.popitem(last=False)
        return 0.0
