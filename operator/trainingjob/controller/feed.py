"""From kopf to the cache and the queue, and what we see of kopf's own requests."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import kopf

from ..cluster import Cache, Key, Resource
from .queue import WorkQueue
from .scopes import Feed, Scope, Scopes

# The API server answers a watch at once; a list of a page takes it seconds under load.
_ANSWER_SECONDS = 30.0
# The pods of a gang start together, and so do their events come: each alone would have the whole
# gang judged anew.
_COMPANY_SECONDS = 0.1
# Of a refusal, as much as one wants to read in a line.
_WORDS = 300
_REMEDIES = {
    401: "the operator's token is not accepted",
    403: "give the operator's service account its rights there again, or serve that no longer",
    404: "see that the CRD is installed",
}
# The one error in a watch that makes kopf list again; any other ends it, with all its watches.
_GONE = b'{"type":"ERROR","object":{"kind":"Status","code":410}}'

_BOOKMARK = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%b"}}}'
_CHANGES = (b'{"type":"ADDED"', b'{"type":"MODIFIED"')
# In the API server's JSON a quote within a text is escaped: this is always a field.
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')


def watch(
    registry: kopf.OperatorRegistry,
    resources: Iterable[Resource],
    cache: Cache,
    queue: WorkQueue[Key],
) -> None:
    """Have kopf watch these and feed the cache, and the queue with the jobs that something changed
    for.

    Only ``on.event`` handlers: with them kopf writes nothing into our objects.
    """
    for resource in resources:
        _watch_one(registry, resource, cache, queue)


def _watch_one(
    registry: kopf.OperatorRegistry, resource: Resource, cache: Cache, queue: WorkQueue[Key]
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        take(event, resource, cache, queue)


def take(event: kopf.RawEvent, resource: Resource, cache: Cache, queue: WorkQueue[Key]) -> None:
    """Have the cache know of it, and its job looked at if it changes something: at once if it may
    decide something, else together with what comes right after it."""
    obj = event["object"]
    job = (cache.remove if event["type"] == "DELETED" else cache.apply)(resource, obj)
    if job is None:
        return
    if cache.decides(resource, (obj["metadata"]["namespace"], obj["metadata"]["name"])):
        queue.add(job)
    else:
        queue.add_after(job, _COMPANY_SECONDS)


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


class Gate:
    """A middleware of kopf's session: every request for what is served passes here.

    kopf gives up a watch, and all others with it, on most refusals and on errors within the
    stream. So it sees none of them: a refusal is told to the scope, and to kopf as a connection
    that failed, which it tries again for ever (``configure_kopf``), at our pace.
    """

    def __init__(self, scopes: Scopes, cache: Cache) -> None:
        self._scopes = scopes
        self._cache = cache

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        found = self._scopes.feeds.get(request.url.path)
        if found is None:
            # What kinds there are, at its start.
            self._scopes.heard()
            return await handler(request)
        scope, feed = found
        feed.heard()
        await asyncio.sleep(max(0.0, feed.due - time.monotonic()))
        feed.heard()
        watching = "watch" in request.url.query
        if not watching:
            scope.asked(feed)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                response = await handler(request)
                why = await _refusal(response)
        except (aiohttp.ClientError, OSError) as error:
            # OSError includes TimeoutError.
            why = f"no answer from the API server: {str(error) or type(error).__name__}"
            scope.failed(feed, why, time.monotonic())
            raise aiohttp.ClientConnectionError(why) from None
        if why and response.status != 410:
            scope.failed(feed, why, time.monotonic())
            raise aiohttp.ClientConnectionError(why)
        if not watching:
            if why:
                # The next page is gone: kopf begins a list anew after this one.
                feed.later(time.monotonic())
                raise aiohttp.ClientPayloadError(why)
            return response
        if not why:
            scope.watching(feed, time.monotonic())
        response.status = 200
        events = Events(response.content, scope, feed, self._cache, gone=bool(why))
        response.content = events  # type: ignore[assignment]
        return response


class Events:
    """The lines of a watch, as kopf reads them: signs of life, no error but 410, and no echo of our
    own writes."""

    def __init__(
        self,
        content: aiohttp.StreamReader,
        scope: Scope,
        feed: Feed,
        cache: Cache,
        *,
        gone: bool,
    ) -> None:
        self._content = content
        self._scope = scope
        self._feed = feed
        self._cache = cache
        self._gone = gone

    def __getattr__(self, name: str) -> Any:
        # What aiohttp does to it when the response is closed.
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        if self._gone:
            self._feed.later(time.monotonic())
            yield _GONE + b"\n"
            return
        rest = b""
        async for data in self._content.iter_chunked(size):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield self.seen(line) + b"\n"

    def seen(self, line: bytes) -> bytes:
        """The line that kopf gets for it."""
        self._feed.heard()
        # The API server writes the type first, and JSON or nothing.
        if line.startswith(b'{"type":"ERROR"') or not line.startswith(b"{"):
            told = _status(line)
            now = time.monotonic()
            if told.get("code") == 410:
                self._feed.later(now)
            else:
                why = str(told.get("message") or "the API server's answer is no JSON")
                self._scope.failed(self._feed, f"the watch was ended: {why}"[:_WORDS], now)
            return _GONE
        self._feed.backoff.reset()
        return self._without_echo(line)

    def _without_echo(self, line: bytes) -> bytes:
        """What the answer to a call of ours has told already tells kopf how far the watch has come,
        and costs no more. Half of all events are echoes, and kopf takes more time for an event than
        we do."""
        if not line.startswith(_CHANGES):
            return line
        # One that has several is somebody's annotation or label: let kopf read it.
        versions: list[bytes] = _VERSION.findall(line)
        match versions:
            case [version]:
                uid = self._cache.answer(self._feed.resource, int(version))
                if uid is not None and b'"uid":"%b"' % uid.encode() in line:
                    return _BOOKMARK % version
        return line


async def _refusal(response: aiohttp.ClientResponse) -> str:
    """Why the request was refused, and what helps; "" when it was not."""
    if response.status < 400:
        if response.content_type == "application/json":
            return ""
        response.close()
        return f"the answer is {response.content_type} and no JSON: is that the API server?"
    text = await response.read()
    try:
        message = json.loads(text)["message"]
    except (ValueError, TypeError, KeyError):
        message = text.decode(errors="replace").strip() or response.reason
    remedy = _REMEDIES.get(response.status, "")
    return "; ".join(filter(None, (f"{message}"[:_WORDS].replace("\n", " "), remedy)))


def _status(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)["object"]
    except (ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}
