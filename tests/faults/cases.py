"""Which faults befall which writes and events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count

from . import faults
from .faults import Fault
from .runs import Case, Result

Points = dict[str, list[tuple[str, tuple[str, int]]]]  # kind -> scenario and point
# In the sample, of events: what is watched that somebody works on.
_SAMPLED = ("modified job", "modified pod")


def every(plain: Mapping[str, Result]) -> Iterator[Case]:
    """Every fault on every write and event of the undisturbed runs; one of minutes on one of each
    kind."""
    for fault in faults.ALL:
        for points in _points(plain, fault).values():
            for scenario, point in points[:1] if fault.long else points:
                yield Case(scenario, fault, point)


def sample(plain: Mapping[str, Result]) -> Iterator[Case]:
    """Each fault on one write of each kind, which is another one for each fault; on events a
    dropped one of each kind, and the rest on those of jobs and pods."""
    for number, fault in zip(count(), faults.ALL, strict=False):
        for kind, points in _points(plain, fault).items():
            if fault.long or (
                fault.place == "event" and fault.name != "dropped" and kind not in _SAMPLED
            ):
                continue
            scenario, point = points[number * 7 % len(points)]
            yield Case(scenario, fault, point)


def kind_of(point: tuple[str, int]) -> str:
    """Verb and kind: `create pod`."""
    return " ".join(point[0].split()[:2])


def _points(plain: Mapping[str, Result], fault: Fault) -> Points:
    found: Points = defaultdict(list)
    for scenario, result in plain.items():
        wire = result.wire
        for point in wire.writes if fault.place == "write" else wire.events:
            found[kind_of(point)].append((scenario, point))
    return {kind: sorted(points) for kind, points in sorted(found.items())}
