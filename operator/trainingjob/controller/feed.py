"""From kopf to the cache and the queue, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
