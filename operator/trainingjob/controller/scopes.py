"""What is served: each namespace by itself, or all as one. Its state, and no IO.

A scope is served while everything in it is watched and was listed once. What breaks it, a
namespace that is gone or a right that was taken, is nobody else's business.

Times are monotonic seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..cluster import Key, Resource

logger = logging.getLogger(__name__)

# A request that failed comes again after so long, doubled each time, up to the longest: what was
# put right is served again within that.
_FIRST_SECONDS, _LONGEST_SECONDS, _MOST_DOUBLINGS = 0.5, 15.0, 5
# kopf begins a watch again at once when it has ended: not more often than this.
_BETWEEN_WATCHES_SECONDS = 1.0


class Backoff:
    """Pauses that grow while something fails."""

    def __init__(self) -> None:
        self.failures = 0

    def longer(self) -> float:
        """It failed once more; seconds until the next try."""
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0**self.failures)
        self.failures = min(self.failures + 1, _MOST_DOUBLINGS)
        # Half of it at random: what failed together shall not come back together.
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret

    def reset(self) -> None:
        """It worked."""
        self.failures = 0


@dataclass
class Feed:
    """One resource of one scope, as kopf lists and watches it."""

    resource: Resource
    watched: bool = False  # answered once
    listing: bool = False  # kopf has asked for a list and not watched since
    why: str = ""  # why not, "" when all is well
    backoff: Backoff = field(default_factory=Backoff)  # of what failed since the last event
    due: float = 0.0  # no request before
    silent: float = 0.0  # seconds without a sign of life of kopf's

    def heard(self) -> None:
        """kopf has asked, or was told, something."""
        self.silent = 0.0

    def later(self, now: float) -> None:
        """Something went wrong; the next request waits."""
        self.due = now + self.backoff.longer()


@dataclass
class Scope:
    """A namespace, or all (None).

    ``patience``: for so many seconds its jobs are worked on with what was known when it broke.
    ``stale``: and with a list of ours that is so old. Beyond that they are left alone: whoever
    does not see pods takes them for pods that do not start.
    """

    namespace: str | None
    resources: Sequence[Resource]
    patience: float
    stale: float
    misses: int = 0  # how often the API server had nothing of the kind, one after the other
    unpolled: str = ""  # why what is not watched could not be listed
    complete: bool = False  # ours is a whole view: listed after kopf had begun to watch
    listed_at: float | None = None
    parked: set[Key] = field(default_factory=set)  # jobs that wanted to be looked at meanwhile

    def __post_init__(self) -> None:
        self.feeds = {r.path(self.namespace): Feed(r) for r in self.resources}
        self.wanted = asyncio.Event()  # a list of ours, now
        self._stale = True  # kopf has listed since we did, or we never did
        self._broken_at: float | None = None
        self._unlisted = ""  # why our list failed
        self._told = False  # in the log, that it is broken

    @property
    def words(self) -> str:
        """Its name for people."""
        return "all namespaces" if self.namespace is None else f"namespace {self.namespace}"

    # --- what kopf does ---------------------------------------------------------------

    def asked(self, feed: Feed) -> None:
        """kopf asks for a list."""
        feed.listing = True

    def watching(self, feed: Feed, now: float) -> None:
        """A watch was answered.

        What was deleted before kopf's list, kopf does not tell: neither at its start nor when the
        API server has let go of its place (410) and it lists again. So after it we list, too: what
        is gone by then is missing in ours, and what goes later kopf tells.
        """
        self._stale |= feed.listing
        feed.watched, feed.listing, feed.why = True, False, ""
        feed.due = now + _BETWEEN_WATCHES_SECONDS
        if self._broken_at is not None and not self._feeds_why:
            if self._blind(now):
                # Nothing is decided before what was missed is here.
                self.complete, self._stale = False, True
            self._broken_at = None
        self._want()
        self._tell_mended()

    def failed(self, feed: Feed, why: str, now: float) -> None:
        """A request of kopf's was refused, or not answered."""
        feed.later(now)
        feed.why = why
        if self._broken_at is None:
            self._broken_at = now
        self._want()
        self._tell(self._feeds_why)

    # --- what we do -------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether all of it is."""
        return all(feed.watched and not feed.why for feed in self.feeds.values())

    def list_begins(self) -> None:
        """What kopf lists from now on is to be listed after it."""
        self._stale = False
        self._want()

    def list_failed(self, why: str) -> None:
        """Our list did; it wants to be tried again."""
        self._unlisted = f"cannot list: {why}"
        self._stale = True
        self._want()
        self._tell(self._unlisted)

    def listed(self, now: float) -> set[Key]:
        """Our list is complete. The jobs that have waited for it."""
        first = self.listed_at is None
        self.complete, self.listed_at, self._unlisted = True, now, ""
        if first:
            self._told = False  # what follows is no news
        self._tell_mended()
        parked, self.parked = self.parked, set()
        return parked

    # --- what others ask --------------------------------------------------------------

    def served(self, now: float) -> bool:
        """Whether its jobs are worked on."""
        return self.complete and not self._blind(now) and self.age(now) <= self.stale

    def age(self, now: float) -> float:
        """Seconds since our last complete list."""
        return float("inf") if self.listed_at is None else now - self.listed_at

    def why(self, now: float) -> str:
        """Why it is not served, or soon will not be; "" when all is well or it has just begun."""
        words = [self._feeds_why or self._unlisted]
        if self.listed_at is not None and self.age(now) > self.stale:
            words.append(f"the last complete list of jobs and pods is {self.age(now):.0f} s old")
        return "; ".join(filter(None, words))

    def _tell(self, why: str) -> None:
        if not self._told:
            logger.warning("%s: %s", self.words, why)
        self._told = True

    def _tell_mended(self) -> None:
        if self._told and not (self._stale or self._feeds_why or self._unlisted):
            logger.info("%s: served again", self.words)
            self._told = False

    def _want(self) -> None:
        if self._stale and self.watched:
            self.wanted.set()
        else:
            self.wanted.clear()

    @property
    def _feeds_why(self) -> str:
        told = ((feed.resource.plural, feed.why) for feed in self.feeds.values())
        return next((f"cannot watch {plural}: {why}" for plural, why in told if why), "")

    def _blind(self, now: float) -> bool:
        return self._broken_at is not None and now - self._broken_at >= self.patience


class Scopes:
    """All that is served."""

    def __init__(
        self,
        namespaces: Iterable[str | None],
        resources: Sequence[Resource],
        patience: float,
        stale: float,
    ) -> None:
        self._scopes = {n: Scope(n, resources, patience, stale) for n in namespaces}
        self.feeds = {path: (scope, feed) for scope in self for path, feed in scope.feeds.items()}

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._scopes.values())

    def of(self, namespace: str) -> Scope:
        """The one that the namespace belongs to."""
        return self._scopes[None] if None in self._scopes else self._scopes[namespace]

    def ready(self, now: float) -> tuple[bool, str]:
        """Whether something is served and nothing is only about to be; and what is not, in words.

        A scope that others spoiled does not make the operator unready: that would bring nothing
        back, and tell that nothing works where the rest does.
        """
        served = [scope for scope in self if scope.served(now)]
        troubles = [f"{scope.words}: {why}" for scope in self if (why := scope.why(now))]
        begun = [scope for scope in self if scope not in served and not scope.why(now)]
        if begun:
            troubles.insert(0, "the first list of jobs and pods is not complete yet")
        return bool(served) and not begun, "\n".join(troubles)

    def age(self, now: float) -> float:
        """Of the oldest list of ours, in seconds; of what cannot be listed only if nothing can."""
        ages = [scope.age(now) for scope in self if not scope.why(now)]
        return max(ages) if ages else min(scope.age(now) for scope in self)

    def rows(self, now: float) -> Iterator[tuple[str, bool]]:
        """The namespaces, and whether they are served."""
        return ((scope.namespace or "", scope.served(now)) for scope in self)

    def heard(self) -> None:
        """kopf lives, and does something that is no scope's own."""
        for _, feed in self.feeds.values():
            feed.heard()

    def silent(self, seconds: float, limit: float) -> str:
        """After ``seconds`` more: a feed that has not shown a sign of life for longer than
        ``limit``, in words; "" when there is none."""
        for scope, feed in self.feeds.values():
            feed.silent += seconds
            if feed.silent > limit:
                return (
                    f"the watch of {feed.resource.plural} in {scope.words} is dead: "
                    f"no sign of life for {feed.silent:.0f} s"
                )
        return ""
