"""From kopf to the cache and the queue, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import kopf

from ..cluster import WATCHED, Cache, Key, Resource


def watch(registry: kopf.OperatorRegistry, cache: Cache, add: Callable[[Key], None]) -> None:
    """Have kopf feed the cache; ``add`` is told of every job that something changed for.

    Only ``on.event`` handlers: with them kopf writes nothing into our objects.
    """
    for resource in WATCHED:
        _watch_one(registry, resource, cache, add)


def _watch_one(
    registry: kopf.OperatorRegistry, resource: Resource, cache: Cache, add: Callable[[Key], None]
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        take = cache.remove if event["type"] == "DELETED" else cache.apply
        job = take(resource, event["object"])
        if job is not None:
            add(job)


class Glance(aiohttp.ClientResponse):
    """An answer to kopf: of a list, no more than from which version on it can watch.

    What is there we list ourselves, once it watches, in pages of bounded size; and what was listed
    twice took twice as long.
    """

    async def json(self, **options: Any) -> Any:
        """As the API server has sent it, without items and further pages."""
        told = await super().json(**options)
        if isinstance(told, dict) and "items" in told:
            told["items"] = []
            told["metadata"].pop("continue", None)
        return told


class Listings:
    """Sees from kopf's requests when it has listed something and watches on from there.

    What was deleted before a list, kopf does not tell: neither at its start nor when the API
    server has let go of its place (410) and it lists again. So whenever it has listed, we list,
    too, after it: what is gone by then is missing in ours, and what goes later kopf tells.

    A middleware of kopf's session; ``listed`` is set each time, ``complete`` once everything was
    listed for the first time.
    """

    def __init__(self, scopes: Iterable[str | None]) -> None:
        self._awaited = {resource.path(scope) for resource in WATCHED for scope in scopes}
        self._paths = frozenset(self._awaited)
        self._listing: set[str] = set()
        self.listed = asyncio.Event()
        self.complete = asyncio.Event()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path = request.url.path
        if path in self._paths:
            if "watch" not in request.url.query:
                self._listing.add(path)
            elif path in self._listing:
                self._listing.discard(path)
                self._awaited.discard(path)
                self.listed.set()
                if not self._awaited:
                    self.complete.set()
        return await handler(request)
