"""A port that every pod of a cluster can reach: few connections, each of them short.

One request a connection, and one deadline for all of it: half a handshake, half a header and half
a body end alike. asyncio's own servers, and aiohttp's on top of them, accept whatever comes and pay
for it before they look: TLS costs 270 KiB from the first byte on. So we accept ourselves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .buckets import Buckets

logger = logging.getLogger(__name__)

# With TLS that is 35 MiB. Pods report for milliseconds every five seconds: a thousand of them are
# two or three connections at a time.
_MOST = 128
# A peer may be a node that hides its pods' addresses.
_MOST_OF_PEER = 64
# New connections of a peer a second, with TLS: a handshake takes a millisecond of the one thread.
_RATE, _BURST = 200.0, 200
# Whoever comes while all places are taken has the oldest one, when it had its chance for so long.
_CHANCE_SECONDS = 1.0
_HANDSHAKE_SECONDS = 5.0
_REQUEST_SECONDS = 10.0
# For whoever has the answer and does not say goodbye, or still sends what nobody wants.
_PARTING_SECONDS = 1.0
_END_SECONDS = 1.0
# Without a free file descriptor nothing can be accepted.
_EXHAUSTED_SECONDS = 0.5
_BACKLOG = 128

# A token has one or two KiB, and more headers than these nobody needs.
_LIMITS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "lingering_time": _PARTING_SECONDS,
    "max_headers": 32,
    "max_line_size": 2048,
    "read_bufsize": 8192,
}


@dataclass(eq=False)
class _Connection:
    peer: str
    since: float
    task: asyncio.Task[None] | None = None


class Listener:
    """Has ``server`` at a port; ``malformed`` is told of each request that is no HTTP or breaks
    off, ``refused`` of each connection that was one too many."""

    def __init__(
        self,
        server: web.Server,
        *,
        malformed: Callable[[], None] = lambda: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._server = server
        self._malformed = malformed
        self._refused = refused
        # The oldest first.
        self._open: dict[_Connection, None] = {}
        self._rates: Buckets[str] = Buckets(_RATE, _BURST)
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(self, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on all addresses; the port, which is a free one for 0. Raises OSError when it is
        taken."""
        both = socket.has_dualstack_ipv6()
        self._socket = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=both,
        )
        self._socket.setblocking(False)
        self._tls = tls
        self._accepting = asyncio.create_task(self._accept(self._socket), name="listener")
        return int(self._socket.getsockname()[1])

    async def close(self) -> None:
        """Accept no more; requests in progress have a moment to end."""
        if self._accepting is None or self._socket is None:
            return
        self._accepting.cancel()
        self._socket.close()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._accepting, *tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                logger.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(_EXHAUSTED_SECONDS)
                continue
            self._admit(accepted, str(address[0]))
            # However many call, the rest of us has its turn after each.
            await asyncio.sleep(0)

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        now = time.monotonic()
        often = self._tls is not None and self._rates.wait(peer, now) > 0
        if often or not self._place(peer, now):
            self._refused()
            accepted.close()
            return
        connection = _Connection(peer, now)
        self._open[connection] = None
        connection.task = asyncio.create_task(self._serve(connection, accepted))

    def _place(self, peer: str, now: float) -> bool:
        """Whether there is one, maybe since the oldest has to go."""
        same = [connection for connection in self._open if connection.peer == peer]
        for most, found in ((_MOST_OF_PEER, same), (_MOST, [*self._open])):
            if len(found) < most:
                continue
            oldest = found[0]
            if now - oldest.since < _CHANCE_SECONDS:
                return False
            if oldest.task is not None:
                oldest.task.cancel()
            self._open.pop(oldest, None)
            self._refused()
            return True  # a place of this peer is a place of all
        return True

    async def _serve(self, connection: _Connection, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        limits = {} if self._tls is None else {"ssl_handshake_timeout": _HANDSHAKE_SECONDS}
        if self._tls is not None:
            limits["ssl_shutdown_timeout"] = _PARTING_SECONDS
        protocol = _Protocol(self._server, loop, self._malformed)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await loop.connect_accepted_socket(
                    lambda: protocol, accepted, ssl=self._tls, **limits
                )
                await protocol.ended.wait()
        except (OSError, TimeoutError) as error:
            _let_go(error)  # no TLS, or gone, or too slow: theirs, and of no interest
        except asyncio.CancelledError as error:
            _let_go(error)
            raise
        finally:
            self._open.pop(connection, None)
            connection.task = None
            protocol.abort()
            accepted.close()


def _let_go(error: BaseException | None) -> None:
    """asyncio's frames refer to the error, and the error to them: with 270 KiB each they would
    wait for the garbage collector."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


class _Protocol(web.RequestHandler):
    """aiohttp's, that tells when it is over and makes no noise."""

    __slots__ = ("_malformed", "ended", "whole")

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, malformed: Callable[[], None]
    ) -> None:
        super().__init__(server, loop=loop, **_LIMITS)
        self.ended = asyncio.Event()
        self.whole: asyncio.Transport | None = None
        self._malformed = malformed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.whole = transport if isinstance(transport, asyncio.Transport) else None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.ended.set()

    def abort(self) -> None:
        """End it at once, if it is still there."""
        if self.whole is not None and not self.ended.is_set():
            self.whole.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp logs a traceback for whatever is sent to it."""
        # Of the connection, when the body is read: there is nobody, or nobody who speaks HTTP.
        if isinstance(exc, OSError | web.RequestPayloadError):
            status = 400
        if status >= 500:
            logger.error("a bug of the operator at a port of its own", exc_info=exc)
        else:
            self._malformed()
        return web.Response(status=status, text="this is no request\n" if status < 500 else "")

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """The last one of the connection."""
        resp.force_close()
        return await super().finish_response(request, resp, start_time)
