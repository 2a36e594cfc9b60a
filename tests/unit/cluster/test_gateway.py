"""Lists come in pages of bounded size, whatever lies in them; from a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainingjob.cluster import JOBS, PODS, Api, Conflict, Gateway, Unavailable
from trainingjob.controller.feed import Glance

MIB = 2**20


class Server:
    """An API server that pages through objects of these sizes."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes
        self.limits: list[int] = []
        # Bytes that were asked for, by answer.
        self.answers: list[int] = []

    async def list(self, request: web.Request) -> web.Response:
        limit, begin = int(request.query["limit"]), int(request.query.get("continue", "0"))
        end = min(begin + limit, len(self._sizes))
        items = [
            {"metadata": {"name": f"job-{n}"}, "spec": "x" * self._sizes[n]}
            for n in range(begin, end)
        ]
        meta = {"resourceVersion": "77"} | (
            {"continue": str(end)} if end < len(self._sizes) else {}
        )
        body = json.dumps({"kind": "List", "metadata": meta, "items": items}).encode()
        self.limits.append(limit)
        self.answers.append(len(body))
        answer = web.Response(body=body, content_type="application/json")
        answer.enable_compression()
        return answer


@asynccontextmanager
async def serve(server: Server) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get(JOBS.path(None), server.list)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def listed(server: Server) -> tuple[list[str], int]:
    """The names in their order, and the largest page in bytes."""
    names, largest = [], 0
    async with serve(server) as url, aiohttp.ClientSession() as session:
        gateway = Gateway(Api(url, session, lambda *_: None))
        before: list[Any] = []
        async for items, version in gateway.pages(JOBS, None):
            assert version == 77
            assert before == [], "a page is gone when the next one comes"
            names += [item["metadata"]["name"] for item in items]
            largest = max(largest, len(json.dumps(items)))
            before = items
    return names, largest


@pytest.mark.parametrize(
    ("what", "sizes", "requests"),
    [
        ("none", [], 1),
        ("one", [1000], 1),
        ("a thousand small ones", [4000] * 1000, 13),
        ("many large ones", [MIB] * 60, 64),
        ("large ones after small ones", [2000] * 150 + [MIB] * 30, 42),
        ("small ones after large ones", [MIB] * 10 + [2000] * 300, 24),
        ("as large as can be", [int(1.5 * MIB)] * 20, 24),
        ("now small, now large", [2000, MIB] * 20, 40),
    ],
)
async def test_pages_are_of_bounded_size_and_lose_nothing(
    what: str, sizes: list[int], requests: int
) -> None:
    server = Server(sizes)
    names, largest = await listed(server)

    assert names == [f"job-{number}" for number in range(len(sizes))]
    assert largest <= 2 * MIB
    assert len(server.limits) <= requests
    assert max(server.limits) <= 100


async def test_kopf_learns_where_to_begin_and_nothing_else() -> None:
    server = Server([1000] * 5)
    async with (
        serve(server) as url,
        aiohttp.ClientSession(response_class=Glance) as session,
        session.get(url + JOBS.path(None), params={"limit": "1"}) as answer,
    ):
        told = await answer.json()
    assert told == {"kind": "List", "metadata": {"resourceVersion": "77"}, "items": []}


@pytest.mark.parametrize(
    ("what", "there", "error"),
    [
        ("another pod has its name", "uid-2", Conflict),
        ("a webhook, or a write at the same moment, was in the way", "uid-1", Unavailable),
        ("it has gone meanwhile", None, None),
    ],
)
async def test_a_deletion_that_meets_a_conflict(
    what: str, there: str | None, error: type[Exception] | None
) -> None:
    """By the API server's answer alone nobody knows which of them it is."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"reason": "Conflict", "message": "not now"}, status=409)

    async def get(_: web.Request) -> web.Response:
        if there is None:
            return web.json_response({"reason": "NotFound"}, status=404)
        return web.json_response({"metadata": {"uid": there}})

    app = web.Application()
    app.router.add_delete(PODS.path("team", "pod"), refuse)
    app.router.add_get(PODS.path("team", "pod"), get)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        gateway = Gateway(Api(str(server.make_url("")).rstrip("/"), session, lambda *_: None))
        with pytest.raises(error) if error else nullcontext():
            assert await gateway.delete(PODS, "team", "pod", "uid-1") is None
