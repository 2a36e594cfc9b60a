"""Which of the Events about a pod says why it waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import terms, text
from .observation import PodEvent


def telling(events: Iterable[Mapping[str, Any]]) -> PodEvent | None:
    """Of core v1 Events: of the warnings that came after all else, the one that says most; None
    when the last one is no warning: then the pod gets on."""
    found = sorted(events, key=_time)
    calm = max((_time(event) for event in found if event.get("type") != "Warning"), default="")
    warnings = [e for e in found if e.get("type") == "Warning" and _time(e) >= calm]
    if not warnings:
        return None
    order = {reason: place for place, reason in enumerate(terms.EVENTS)}
    # Of equals, the newest.
    best = min(reversed(warnings), key=lambda e: order.get(e.get("reason", ""), len(order)))
    return PodEvent(text.line(best.get("reason", ""), 128), text.line(best.get("message", "")))


def _time(event: Mapping[str, Any]) -> str:
    """When it was seen last: RFC 3339 in UTC, whose text sorts as the times do."""
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    # Some have fractions of a second, and some have not.
    return max((time[:19] for time in times if time), default="")
