"""/healthz, /readyz and /metrics on one port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# Whether all is well, and what is not, in words.
Check = Callable[[], tuple[bool, str]]


def application(alive: Check, ready: Check, registry: CollectorRegistry) -> web.Application:
    """The server: 200 or 503 with what is not well as text, and the metrics."""

    def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            well, words = check()
            lines = [*(["ok"] if well else []), *([words] if words else [])]
            return web.Response(text="\n".join(lines) + "\n", status=200 if well else 503)

        return handle

    async def metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/healthz", answer(alive))
    app.router.add_get("/readyz", answer(ready))
    app.router.add_get("/metrics", metrics)
    return app
