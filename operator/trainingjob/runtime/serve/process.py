"""From the start to the end of the process."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import time
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from trainingjob.api.payload import ServePayload

from ..base.errors import StageFailure
from ..base.log import log
from ..base.text import one_line
from . import served
from .app import App, event
from .language import Language

PORT = 8080
DRAIN_SECONDS = 20.0
# After SIGTERM requests come until all of a cluster know that this server goes: until none has
# come for a second, and no longer than this.
_QUIET_SECONDS = 1.0
_LINGER_SECONDS = 8.0
# Where nobody else sends requests.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Of a connection without a request.
_KEEPALIVE_SECONDS = 75.0


def serve(payload: ServePayload) -> None:
    """As ``serve.run``."""
    asyncio.run(_serve(payload))


async def _serve(payload: ServePayload) -> None:
    began = time.monotonic()
    app = App(payload)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    drain = DRAIN_SECONDS if payload.drain_seconds is None else payload.drain_seconds
    runner = web.AppRunner(
        app.application,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=drain,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        handler_cancellation=True,
        auto_decompress=False,  # a packed body is refused: nor is it unpacked to be thrown away
        logger=_logger(),
    )
    await runner.setup()
    try:
        host, port = await _listen(runner, payload)
        # Whoever asks meanwhile is told that it is alive, and not ready.
        loading = asyncio.create_task(asyncio.to_thread(proved, payload))
        stopped = asyncio.create_task(stop.wait())
        both: set[asyncio.Task[Any]] = {loading, stopped}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            model, rows = loading.result()
            app.serve(model)
            log(
                event(
                    "ready",
                    model=payload.name,
                    version=model.version,
                    digest=model.card.model_digest,
                    address=f"http://{host}:{port}",
                    rows=rows,
                    seconds=round(time.monotonic() - began, 2),
                )
            )
            await stopped
        else:
            loading.cancel()
        await _drained(app, linger=payload.host not in _LOOPBACK)
    finally:
        await runner.cleanup()
        await app.close()
    log(event("stopped"))


class _Failures(logging.Handler):
    """What the HTTP library reports, as events. Who sends what is no HTTP is told so, and fills
    no log with it."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            log(event("failed", error=one_line(error or record.getMessage())))


def _logger() -> logging.Logger:
    logger = logging.Logger("http", logging.WARNING)
    logger.addHandler(_Failures())
    return logger


async def _listen(runner: web.AppRunner, payload: ServePayload) -> tuple[str, int]:
    """The address. Raises StageFailure(SettingUnsuitable)."""
    port = PORT if payload.port is None else payload.port
    site = web.TCPSite(runner, payload.host, port)
    try:
        await site.start()
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise StageFailure("SettingUnsuitable", f"port {port} {why}") from error
    return payload.host or "0.0.0.0", int(runner.addresses[0][1])  # noqa: S104 - to be shown


def proved(payload: ServePayload) -> tuple[served.Served | Language, int]:
    """The model, and by how many rows it has proved itself. Raises as ``serve.run``."""
    model = served.any_model(payload)
    return model, model.prove(payload.tolerance, payload.self_test_rows)


async def _drained(app: App, *, linger: bool) -> None:
    """Until nobody sends requests here any more, where others must hear of it first."""
    app.state.draining = True
    log(event("draining", requests=app.state.in_flight))
    began = time.monotonic()
    while linger and time.monotonic() < min(
        began + _LINGER_SECONDS, max(began, app.state.last) + _QUIET_SECONDS
    ):
        await asyncio.sleep(0.05)
