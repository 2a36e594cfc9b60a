"""A gang for whose pods a quota has no room: it gives back those that it has, and waits in line.

Gangs that keep half of what they need keep each other from running, for ever.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

# So long it may take until others have given back, or ended; not all gangs give up at once.
_HOLD_SECONDS = 4.0
# Between two tries: about as long as it has waited so far.
_SHORTEST_SECONDS = 2.0
LONGEST = timedelta(seconds=60)


def held_until(since: datetime, seed: str) -> datetime:
    """Until when a gang keeps what it has, which a quota has not let be whole ``since`` then."""
    return since + timedelta(seconds=_HOLD_SECONDS * (1 + _share(seed)))


def retried_at(since: datetime, now: datetime, seed: str) -> datetime:
    """When a gang is tried again that has waited ``since`` then, and gives back what it has now."""
    waited = (now - since).total_seconds()
    longest = max(_SHORTEST_SECONDS, min(LONGEST.total_seconds(), waited))
    return now + timedelta(seconds=longest * (0.5 + _share(seed) / 2))


def _share(seed: str) -> float:
    """From 0 to 1, always the same for the same gang and attempt: no two come back together."""
    return zlib.crc32(seed.encode()) / 2**32
