"""Which pods of a gang, as a Job of batch/v1 writes its completed indexes: ``0,2-5,7``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable


def write(found: Iterable[int]) -> str | None:
    """None for none."""
    runs = []
    for _, run in itertools.groupby(enumerate(sorted(found)), key=lambda pair: pair[1] - pair[0]):
        members = [index for _, index in run]
        runs.append("-".join(str(index) for index in dict.fromkeys((members[0], members[-1]))))
    return ",".join(runs) or None


def read(text: str | None) -> frozenset[int]:
    """What was written; of what somebody else wrote, as much as can be read."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found |= {*range(int(first), min(int(last or first), _MOST) + 1)}
    return frozenset(found)


# No gang is larger: a number that somebody has edited makes no list of millions.
_MOST = 10_000
