"""Connections with the API server."""

from __future__ import annotations

import time

import aiohttp.connector
import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from trainingjob.cluster.session import Credentials


@pytest.mark.parametrize(("pause", "connections"), [(40, 1), (49, 2)])
async def test_a_connection_is_kept_for_less_than_the_other_side_keeps_it(
    pause: float, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balancer closes those that were idle for 50 s, the API server of 90: a call at that moment
    would be lost."""
    met: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        met.add(request.transport)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, keepalive_timeout=1000)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Credentials(Configuration()).session() as session:
            for seconds in (0, pause):
                later = time.monotonic() + seconds
                monkeypatch.setattr(aiohttp.connector, "monotonic", lambda now=later: now)
                async with session.get(site.name) as response:
                    await response.read()
    finally:
        await runner.cleanup()
    assert len(met) == connections
