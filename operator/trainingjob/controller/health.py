"""/healthz, /readyz and /metrics on one port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# Why not, in words; "" when all is well.
Check = Callable[[], str]


def application(alive: Check, ready: Check, registry: CollectorRegistry) -> web.Application:
    """The server: 200 or 503 with the reason as text, and the metrics."""

    def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            why = check()
            return web.Response(text=(why or "ok") + "\n", status=503 if why else 200)

        return handle

    async def metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/healthz", answer(alive))
    app.router.add_get("/readyz", answer(ready))
    app.router.add_get("/metrics", metrics)
    return app
