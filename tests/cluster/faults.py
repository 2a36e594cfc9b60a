"""A proxy before the API server that does to its clients what networks and upgrades do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from . import config
from .controlplane import ControlPlane
from .process import free_ports

T = TypeVar("T")

# What to do with a request: nothing (None), refuse it with a status, answer with such a page, or
# never answer.
SILENCE = "silence"
Fault = int | str | None


class Faults:
    """A context manager. ``fault(path, watch)`` says what becomes of a request."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._watches: dict[web.StreamResponse, tuple[str, web.Request]] = {}
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        (self._port,) = free_ports(1)
        self.fault: Callable[[str, bool], Fault] = lambda path, watch: None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._do(self._drop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def kubeconfig(self, user: str = "admin") -> Any:
        """The user's, through here."""
        plane = self._control_plane
        path = plane.folder / f"kubeconfig-{self._port}-{user.replace(':', '-')}"
        server, token = f"https://127.0.0.1:{self._port}", plane.token(user)
        path.write_text(config.kubeconfig(server, plane.ca_file, user, token), encoding="utf-8")
        return path

    def stop(self) -> None:
        """Nobody listens any more, and what is open is closed."""
        if self._runner is not None:
            self._do(self._runner.cleanup())
        self._runner = None

    def cut(self) -> None:
        """End all watches, as an API server that is restarted does."""
        self._do(self._cut())

    def tell(self, path: str, line: bytes) -> None:
        """Say this in the watches of the path."""
        self._do(self._tell(path, line))

    def watched(self, path: str) -> bool:
        """Whether the path is, at the moment."""
        return any(watched == path for watched, _ in list(self._watches.values()))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=False, limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self._control_plane.ca_file
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=context).start()

    async def _drop(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        # A transport is closed by the loop, some steps later.
        for _ in range(10):
            await asyncio.sleep(0.01)

    async def _cut(self) -> None:
        for _, request in self._watches.values():
            if request.transport is not None:
                request.transport.close()

    async def _tell(self, path: str, line: bytes) -> None:
        for response, (watched, _) in self._watches.items():
            if watched == path:
                await response.write(line)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = "watch" in request.query
        fault = self.fault(request.path, watch)
        if fault == SILENCE:
            await asyncio.Event().wait()
        if isinstance(fault, str):
            return web.Response(text=fault, content_type="text/html")
        if fault is not None:
            told = {"kind": "Status", "message": "a fault of the test", "code": fault}
            return web.json_response(told, status=fault)
        headers = {k: v for k, v in request.headers.items() if k not in ("Host", "Connection")}
        target = URL(self._control_plane.server + request.raw_path, encoded=True)
        body = await request.read() or None
        assert self._session is not None
        async with self._session.request(
            request.method, target, headers=headers, data=body
        ) as answer:
            kept = ("Content-Type", "Content-Encoding", "Retry-After")
            response = web.StreamResponse(
                status=answer.status,
                headers={name: answer.headers[name] for name in kept if name in answer.headers},
            )
            # Whoever has gone away does not want the rest.
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                if watch:
                    self._watches[response] = (request.path, request)
                try:
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                finally:
                    self._watches.pop(response, None)
                await response.write_eof()
            return response
