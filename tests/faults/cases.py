"""Which faults befall which writes and events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count

from . import faults
from .faults import Fault
from .runs import Case, Result

Points = dict[str, list[tuple[str, tuple[str, int]]]]  # kind -> scenario and point
# In the sample, of faults that are much like others, or the same whatever is written.
_SAMPLED = ("create pod", "delete pod", "write status", "modified job", "modified pod")
_LIKE_OTHERS = {
    *("lost request", "503", "slow", "stale list", "SIGTERM", "another one"),
    *("outage", "no rights", "etcd full"),
    *(fault.name for fault in faults.ALL if fault.place == "event" and fault.name != "dropped"),
}


def every(plain: Mapping[str, Result]) -> Iterator[Case]:
    """Every fault on every write and event of the undisturbed runs; one of minutes on one of each
    kind."""
    for fault in faults.ALL:
        for points in _points(plain, fault).values():
            for scenario, point in points[:1] if fault.long else points:
                yield Case(scenario, fault, point)


def sample(plain: Mapping[str, Result]) -> Iterator[Case]:
    """Each fault on one write or event of each kind, which is another one for each fault; where it
    is much like another fault, on those of pods and status."""
    for number, fault in zip(count(), faults.ALL, strict=False):
        for kind, points in _points(plain, fault).items():
            if fault.long or (fault.name in _LIKE_OTHERS and kind not in _SAMPLED):
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
        assert wire is not None, "an undisturbed run"
        for point in wire.writes if fault.place == "write" else wire.events:
            found[kind_of(point)].append((scenario, point))
    return {kind: sorted(points) for kind, points in sorted(found.items())}
