"""Between operators and an API server: notes what passes, and does to it what it is told to.

One port for all. A life of an operator, from its start to its death, is known by its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.cluster import config
from tests.cluster.controlplane import ControlPlane

from .faults import Fault
from .names import Word, of_event, of_request

# For how long the first lists of a new life are old ones.
_STALE_SECONDS = 0.5
# What the API server says then.
_WORDS = {
    403: 'pods is forbidden: User "operator" cannot create resource "pods" in API group ""',
    409: "Operation cannot be fulfilled: the object has been modified; please try again",
}
_FULL = "etcdserver: mvcc: database space exceeded"


@dataclass
class Call:
    """A write. ``code`` is the API server's answer, 0 when it was not asked; ``version`` that of
    what was written."""

    word: Word
    life: int
    moment: float
    code: int = 0
    version: int = 0

    @property
    def done(self) -> bool:
        return 200 <= self.code < 300


@dataclass
class Wire:
    """One job's operator, and the one after it. ``point``: the write or the event, by its key and
    the how-manieth of that key it is, that the fault befalls."""

    job: str
    namespace: str
    fault: Fault | None = None
    point: tuple[str, int] | None = None
    crash: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    join: Callable[[], None] = lambda: None
    born: int = 0  # the version at which the job was made
    lives: int = 0  # so many operators there have been
    alive: set[int] = field(default_factory=set)  # those of them that may speak
    out: float = 0.0  # until then nobody is heard
    forbidden: float = 0.0  # or may do anything
    full: float = 0.0  # or may write
    calls: list[Call] = field(default_factory=list)
    writes: list[tuple[str, int]] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    watches: dict[int, web.Request] = field(default_factory=dict)
    struck: float = 0.0  # when the fault came
    told: float = 0.0  # when the API server was last written to
    stale: int = 0  # lists are as of this version
    served: int = 0  # so many of them were told
    _counts: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _stale_until: float = 0.0

    @property
    def watched(self) -> int:
        """How many kinds are watched."""
        return len({request.path for request in self.watches.values()})

    @property
    def reached(self) -> bool:
        """Whether the fault came to pass, as a whole."""
        stale = self.fault is not None and self.fault.stale
        return bool(self.struck) and (not stale or self.served > 0)

    def nth(self, key: str) -> tuple[str, int]:
        self._counts[key] += 1
        return key, self._counts[key]

    def strikes(self, place: str, point: tuple[str, int]) -> Fault | None:
        """The fault, if it befalls this one; it does so once."""
        fault = self.fault
        if fault is None or fault.place != place or self.point != point or self.struck:
            return None
        self.struck = time.monotonic()
        return fault

    def grow_stale(self, how: str) -> None:
        """What is listed next is old."""
        done = [call.version for call in self.calls if call.done and call.version]
        before = done[-2] if len(done) > 1 else self.born
        self.stale = before if how == "step" else self.born

    def list_version(self) -> int:
        """As of which version is to be listed; 0: the newest."""
        if self.stale and not self._stale_until:
            self._stale_until = time.monotonic() + _STALE_SECONDS
        if self.stale and time.monotonic() > self._stale_until:
            self.stale = 0
        return self.stale

    def again(self, key: str, version: int) -> bool:
        """Whether the event was there already, in another watch."""
        known = (key, version) in self._seen
        self._seen.add((key, version))
        return known


class _Broken(Exception):
    """The connection is to break."""


class Proxy:
    """An asynchronous context manager."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._plane = control_plane
        self._wires: dict[str, tuple[Wire, int]] = {}
        self._port = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=2**20
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def kubeconfig(self, wire: Wire) -> Any:
        """For the next life of this operator."""
        wire.lives += 1
        wire.alive.add(wire.lives)
        token = f"{wire.namespace}.{wire.job}.{wire.lives}"
        self._wires[token] = (wire, wire.lives)
        path = self._plane.folder / f"kubeconfig-{token}"
        server = f"http://127.0.0.1:{self._port}"
        path.write_text(config.kubeconfig(server, self._plane.ca_file, "admin", token))
        return path

    def forget(self, wire: Wire) -> None:
        """It is over."""
        wire.alive.clear()
        for token in [token for token, (known, _) in self._wires.items() if known is wire]:
            del self._wires[token]
            (self._plane.folder / f"kubeconfig-{token}").unlink(missing_ok=True)

    # --- requests ------------------------------------------------------------------------------
    async def _handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        wire, life = self._wires.get(token, (None, 0))
        try:
            if wire is None or life not in wire.alive or time.monotonic() < wire.out:
                raise _Broken
            if time.monotonic() < wire.forbidden:
                return _status(403, "Forbidden")
            return await self._pass(request, wire, life)
        except (_Broken, aiohttp.ClientError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    async def _pass(self, request: web.Request, wire: Wire, life: int) -> web.StreamResponse:
        body = await request.read()
        watch = "watch" in request.query
        word = of_request(request.method, request.path, watch, body, wire.job)
        if word.verb == "watch":
            return await self._watch(request, wire)
        if not word.writes or "dryRun" in request.query:
            query = None
            if word.verb == "list" and (version := wire.list_version()):
                query = {"resourceVersion": str(version), "resourceVersionMatch": "Exact"}
            answer = await self._forward(request, body, query=query)
            wire.served += query is not None and answer.status == 200
            return answer
        if time.monotonic() < wire.full:
            return _status(500, "InternalError", _FULL)
        point = wire.nth(word.key)
        call = Call(word, life, time.monotonic())
        wire.calls.append(call)
        wire.writes.append(point)
        return await self._write(request, body, wire, call, wire.strikes("write", point))

    async def _write(
        self, request: web.Request, body: bytes, wire: Wire, call: Call, fault: Fault | None
    ) -> web.StreamResponse:
        name = fault.name if fault is not None else ""
        if name == "crash before":
            wire.crash()
        if name == "lost request":
            raise _Broken
        if fault is not None and name.startswith("silence"):
            await asyncio.sleep(float(name.split()[2]))
            raise _Broken
        if fault is not None and fault.code not in (0, 504):
            return _status(fault.code, fault.reason)
        if name == "slow":
            await asyncio.sleep(1.0)
        if name == "SIGTERM":
            wire.end()
            await asyncio.sleep(0.2)
        if name == "another one":
            wire.join()
        if name == "outage":
            wire.out = time.monotonic() + fault.lasts
            for other in [*wire.watches.values()]:
                if other.transport is not None:
                    other.transport.abort()
            raise _Broken
        if name == "etcd full":
            wire.full = time.monotonic() + fault.lasts
            return _status(500, "InternalError", _FULL)
        if name == "no rights":
            wire.forbidden = time.monotonic() + fault.lasts
            return _status(403, "Forbidden")
        if call.life not in wire.alive:  # died meanwhile
            raise _Broken
        # Whoever asked may die meanwhile: what has been sent is sent.
        sent = asyncio.ensure_future(self._forward(request, body, call=call))
        answer = await asyncio.shield(sent)
        if call.word.kind != "event":  # a courtesy, that may be late
            wire.told = time.monotonic()
        if fault is not None and fault.stale:
            wire.grow_stale(fault.stale)
        if fault is not None and fault.crashes:
            wire.crash()
        if call.life not in wire.alive or name == "lost reply":
            raise _Broken
        if name == "garbage":
            return web.Response(text="<html>a page</html>", content_type="text/html")
        if fault is not None and fault.code == 504:
            return _status(fault.code, fault.reason)
        return answer

    async def _forward(
        self,
        request: web.Request,
        body: bytes,
        *,
        query: dict[str, str] | None = None,
        call: Call | None = None,
    ) -> web.Response:
        async with self._ask(request, body, query) as answer:
            told = await answer.read()
            if call is not None:
                call.code = answer.status
                with contextlib.suppress(ValueError, KeyError):
                    call.version = int(json.loads(told)["metadata"]["resourceVersion"])
            return web.Response(body=told, status=answer.status, headers=_kept(answer))

    def _ask(self, request: web.Request, body: bytes, query: dict[str, str] | None = None) -> Any:
        target = URL(self._plane.server + request.raw_path, encoded=True)
        if query is not None and "continue" not in target.query:
            target = target.update_query(query)
        headers = {
            "Authorization": f"Bearer {self._plane.token()}",
            "Accept": request.headers.get("Accept", "application/json"),
        }
        if body:
            headers["Content-Type"] = request.headers["Content-Type"]
        return self._session.request(request.method, target, headers=headers, data=body or None)

    # --- watches -------------------------------------------------------------------------------
    async def _watch(self, request: web.Request, wire: Wire) -> web.StreamResponse:
        async with self._ask(request, b"") as answer:
            response = web.StreamResponse(status=answer.status, headers=_kept(answer))
            response.enable_chunked_encoding()
            await response.prepare(request)
            wire.watches[id(request)] = request
            try:
                await self._events(response, answer, wire, request.path)
            finally:
                del wire.watches[id(request)]
            await response.write_eof()
        return response

    async def _events(
        self, response: web.StreamResponse, answer: Any, wire: Wire, path: str
    ) -> None:
        rest = b""
        async for data in answer.content.iter_any():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not await self._event(response, wire, path, line):
                    return

    async def _event(
        self, response: web.StreamResponse, wire: Wire, path: str, line: bytes
    ) -> bool:
        """Pass it on; whether the watch goes on."""
        found = of_event(line, path, wire.job)
        fault = None
        if found is not None and not wire.again(found[0].key, found[1]):
            point = wire.nth(found[0].key)
            wire.events.append(point)
            fault = wire.strikes("event", point)
        if fault is None:
            await response.write(line + b"\n")
            return True
        if fault.stale:
            wire.grow_stale(fault.stale)
        match fault.name:
            case "dropped":
                return True
            case "twice":
                await response.write(line + b"\n" + line + b"\n")
                return True
            case "late":
                await asyncio.sleep(1.0)
                await response.write(line + b"\n")
                return True
            case "closed":
                return False
            case "cut":
                raise _Broken
            case "stalled" | "silent watch":
                await asyncio.Event().wait()
            case "410" | "410, stale":
                await response.write(_error(410, "Expired"))
            case "error":
                await response.write(_error(500, "InternalError"))
            case "nonsense":
                await response.write(b"<html>a page</html>\n")
        return False


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    names = ("Content-Type", "Content-Encoding", "Retry-After")
    return {name: answer.headers[name] for name in names if name in answer.headers}


def _status(code: int, reason: str, words: str = "") -> web.Response:
    headers = {"Retry-After": "1"} if code == 429 else None
    return web.json_response(_told(code, reason, words), status=code, headers=headers)


def _error(code: int, reason: str) -> bytes:
    return (
        json.dumps({"type": "ERROR", "object": _told(code, reason)}, separators=(",", ":")).encode()
        + b"\n"
    )


def _told(code: int, reason: str, words: str = "") -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": words or _WORDS.get(code, "a fault of the test"),
        "reason": reason,
        "code": code,
    }
