"""What may go wrong between the operator and the API server: one row a fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Place = Literal["write", "event"]


@dataclass(frozen=True)
class Fault:
    """``lasts``: seconds by which it holds up the job itself, before anybody can recover.
    ``times``: settings of the operator under which it passes within the time of a test, where
    nobody wants to wait for those of production."""

    name: str
    place: Place
    words: str
    lasts: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    # Of the answer that takes the place of the API server's.
    code: int = 0
    reason: str = ""
    crashes: bool = False
    # What is listed first by the operator that comes after a crash, or a 410.
    stale: Literal["", "step", "start"] = ""
    # Waits of minutes: for each kind of write once, and never in CI.
    long: bool = False


# A list finds what a watch has lost: every five minutes in production.
_SOON = {"resync_seconds": 1.5, "stale_resyncs": 1000}


def _answer(code: int, reason: str, words: str, lasts: float = 0.0) -> Fault:
    return Fault(str(code), "write", words, code=code, reason=reason, lasts=lasts)


ALL = (
    Fault("crash before", "write", "the operator dies before the write", crashes=True),
    Fault("crash after", "write", "the operator dies when it is done, unheard", crashes=True),
    Fault("lost reply", "write", "it is done, and the connection breaks before the answer"),
    Fault("lost request", "write", "the connection breaks before it is done"),
    _answer(409, "Conflict", "refused: somebody else has written"),
    _answer(429, "TooManyRequests", "refused, with `Retry-After: 1`", lasts=1.0),
    _answer(500, "InternalError", "refused"),
    _answer(503, "ServiceUnavailable", "refused"),
    _answer(504, "Timeout", "done, and answered as if it had taken too long"),
    _answer(403, "Forbidden", "refused, as by a right that is taken for a moment"),
    Fault("garbage", "write", "done, and answered by a page of HTML"),
    Fault("slow", "write", "done a second late", lasts=1.0),
    Fault(
        "stale list",
        "write",
        "the operator dies after it, and the next one's first lists are as of the write before",
        crashes=True,
        stale="step",
    ),
    Fault(
        "old list",
        "write",
        "the same, and the lists are as of the moment the job was made",
        crashes=True,
        stale="start",
    ),
    Fault("SIGTERM", "write", "the operator is told to end in the midst of it, and another starts"),
    Fault("another one", "write", "a second operator starts beside it, and both go on"),
    Fault("outage", "write", "not done, and for two seconds no connection at all", lasts=2.0),
    Fault("no rights", "write", "refused, as all else for two seconds (403)", lasts=2.0),
    Fault("etcd full", "write", "refused, as all other writes for two seconds (500)", lasts=2.0),
    Fault("silence of 30 s", "write", "not done, no answer for 30 s", lasts=30.0, long=True),
    Fault("silence of 120 s", "write", "not done, no answer for 120 s", lasts=40.0, long=True),
    Fault("dropped", "event", "the event never comes", times=_SOON, lasts=1.65),
    Fault("twice", "event", "it comes twice"),
    Fault("late", "event", "it, and all that follows, comes a second late", lasts=1.0),
    Fault("closed", "event", "the watch ends before it, and begins again", lasts=1.0),
    Fault("cut", "event", "the connection breaks before it", lasts=1.0),
    Fault("stalled", "event", "the watch says nothing any more", times=_SOON, lasts=1.65),
    Fault("410", "event", "the watch has lost its place: all is listed anew", lasts=1.0),
    Fault(
        "410, stale",
        "event",
        "the same, and the lists are as of the write before",
        lasts=1.0,
        stale="step",
    ),
    Fault("nonsense", "event", "a line that is no JSON in its place", lasts=1.0),
    Fault("error", "event", "an error of the API server in its place", lasts=1.0),
    Fault(
        "silent watch", "event", "it says nothing any more, under the usual settings",
        lasts=70.0, long=True,
    ),
)  # fmt: skip
BY_NAME = {fault.name: fault for fault in ALL}
