"""HTTP: the paths of the Open Inference Protocol, the metrics, and the model's card."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from trainingjob.api.payload import ServePayload

from ... import __version__
from ..base.log import log
from . import completions, page, protocol, turns
from .batches import MOST_ROWS, Batches, Busy
from .completions import Completions
from .language import Language
from .metrics import Metrics
from .served import BadRow, Served

MAX_BODY_BYTES = 16 * 2**20
MAX_QUEUED_ROWS = 16_384
# Of a request, from its first byte to its last one.
_BODY_SECONDS = 30.0
# And while it comes, at least so many bytes of it in so many seconds, or its end.
_LEAST_BYTES, _LEAST_SECONDS = 64 * 2**10, 10.0
# What all requests together may hold, counted as it comes; and beyond that only those that hold
# little, so that great ones do not keep them out.
_HELD_BYTES = 4 * MAX_BODY_BYTES
_SMALL_BYTES, _FOR_SMALL_BYTES = 256 * 2**10, MAX_BODY_BYTES
_HELD = web.RequestKey("held", int)
# Of an answer, from its first byte to its last one.
_SEND_SECONDS = 30.0
_RETRY_SECONDS = "1"
_FULL = "requests hold as much memory as they may"
_JSON = "application/json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class State:
    """``served`` is None until the model has proved itself; ``draining``: the end has come."""

    served: Served | None = None
    batches: Batches | None = None
    # Of a language model instead of these two.
    language: Language | None = None
    completions: Completions | None = None
    draining: bool = False
    in_flight: int = 0
    last: float = 0.0  # when a request came, by the monotonic clock


class Failed(Exception):
    """An answer that is an error, in words."""

    def __init__(self, status: int, words: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, headers


class App:
    """The application of one model."""

    def __init__(self, payload: ServePayload) -> None:
        self.name = payload.name
        self.state = State()
        self.metrics = Metrics(self._queued)
        self._most_bytes = payload.max_body_bytes or MAX_BODY_BYTES
        self._most_queued = payload.max_queued_rows or MAX_QUEUED_ROWS
        self._held = 0  # bytes, by all requests that are not answered yet
        # Large ones are read one after the other: as values they take many times their bytes.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self.application = web.Application(middlewares=[self._told], client_max_size=0)
        model = "/v2/models/{model}"
        versioned = f"{model}/versions/{{version}}"
        self.application.add_routes(
            [
                web.get("/v2", self._server),
                web.get("/v2/health/live", self._live),
                web.get("/v2/health/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/", self._page),
                *(web.get(f"{path}/ready", self._model_ready) for path in (model, versioned)),
                *(web.get(path, self._metadata) for path in (model, versioned)),
                *(web.post(f"{path}/infer", self._infer) for path in (model, versioned)),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._complete),
                web.post("/v1/chat/completions", self._chat),
            ]
        )

    def serve(self, served: Served | Language) -> None:
        """From now on requests are answered."""
        self.metrics.of_model(self.name, served.card.model_digest)
        if isinstance(served, Language):
            waiting = min(self._most_queued, turns.MOST_WAITING)
            self.state.completions = Completions(self.name, served, waiting)
            self.state.language = served
            return
        fitting = protocol.MOST_OUTPUTS // protocol.outputs_of_row(served)
        self.state.batches = Batches(
            served.answers, self._most_queued, self.metrics.batch, min(MOST_ROWS, fitting)
        )
        self.state.served = served

    async def close(self) -> None:
        """Once all requests are answered."""
        if self.state.completions is not None:
            await self.state.completions.close()
        await asyncio.to_thread(self._reader.shutdown, cancel_futures=True)
        if self.state.batches is not None:
            await self.state.batches.close()
        if self.state.served is not None:
            self.state.served.close()

    def _queued(self) -> int:
        state = self.state
        if state.completions is not None:
            return state.completions.turns.queued
        return state.batches.queued if state.batches is not None else 0

    # --- every request ------------------------------------------------------------------------

    @web.middleware
    async def _told(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors in words, and metrics; nothing that a request does ends the server."""
        began = time.perf_counter()
        of_model = request.path.startswith(("/v2/models/", "/v1/"))
        if of_model:
            self.state.last = time.monotonic()
        self.state.in_flight += 1
        try:
            response = await self._answered(request, handler)
            if of_model:
                self.metrics.request(response.status, time.perf_counter() - began)
            if self.state.draining:
                response.force_close()
            await _send(request, response)
        finally:
            self.state.in_flight -= 1
            self._held -= request.get(_HELD, 0)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        try:
            return await handler(request)
        except Failed as failure:
            return _error(path, failure.status, failure.words, failure.headers)
        except completions.BadRequest as bad:
            return _error(path, 400, str(bad), name=bad.name)
        except (protocol.BadRequest, BadRow) as error:
            return _error(path, 400, str(error))
        except web.HTTPException as error:
            allowed = error.headers.get("Allow")
            words = f"{request.method} {path}: {error.reason}"
            return _error(path, error.status, words, {"Allow": allowed} if allowed else None)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise  # they have gone
        except Exception as error:
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            log(event("failed", path=path, error=told))
            return _error(path, 500, "the server has failed on this request; its log says how")

    # --- the protocol -------------------------------------------------------------------------

    async def _server(self, request: web.Request) -> web.Response:
        return _answer({"name": "trainingjob", "version": __version__, "extensions": []})

    async def _live(self, request: web.Request) -> web.Response:
        return _answer({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        if self.state.draining:
            raise Failed(503, "the server is being stopped")
        self._loaded()
        return _answer({"ready": True})

    def _loaded(self) -> Served | Language:
        """The model, once it has proved itself."""
        served = self.state.served or self.state.language
        if served is None:
            raise Failed(503, "the model is being loaded, or has not proved itself yet")
        return served

    async def _model_ready(self, request: web.Request) -> web.Response:
        if self.state.language is None or request.match_info["model"] != self.name:
            self._model(request)
        return await self._ready(request)

    async def _metadata(self, request: web.Request) -> web.Response:
        return _answer(protocol.metadata(self.name, self._model(request)))

    async def _infer(self, request: web.Request) -> web.Response:
        served = self._model(request)
        assert self.state.batches is not None
        asked = await self._asked(await self._body(request), served)
        outputs = asked.rows * protocol.outputs_of_row(served)
        self._hold(request, outputs * protocol.OUTPUT_BYTES)
        try:
            answers = await self.state.batches.answers(asked.columns, asked.rows)
        except Busy:
            raise _busy(f"{self.state.batches.queued} rows wait already") from None
        if outputs <= protocol.PIECE:
            body = protocol.written(self.name, asked, answers, served)
        else:  # others are answered meanwhile
            body = await asyncio.to_thread(protocol.written, self.name, asked, answers, served)
        return web.Response(body=body, content_type=_JSON)

    async def _asked(self, body: bytes, served: Served) -> protocol.Request:
        what = body, served, self._most_queued
        if len(body) <= protocol.LARGE_BODY:
            return protocol.read(*what)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, protocol.read, *what)

    def _model(self, request: web.Request) -> Served:
        """The model that a request names."""
        name, version = request.match_info["model"], request.match_info.get("version")
        if name != self.name:
            raise Failed(404, f"there is no model {name[:100]!r}: this server has {self.name}")
        served = self._loaded()
        if isinstance(served, Language):
            raise Failed(404, f"{name} is a language model: ask POST /v1/completions")
        if version not in (None, served.version):
            raise Failed(
                404, f"there is no version {version[:100]!r} of {name}, but {served.version}"
            )
        return served

    async def _body(self, request: web.Request) -> bytes:
        """Of bounded size, in bounded time, and with others within what all may hold."""
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise Failed(415, f"the body is {encoding[:40]}: send it as it is")
        if request.headers.get("Inference-Header-Content-Length"):
            raise Failed(415, "the protocol's binary data are not supported: send JSON")
        most, length = self._most_bytes, request.content_length
        if length is not None and length > most:
            raise Failed(413, f"the body has {length} bytes, and {most} are the most")
        if length is not None and not self._fits(length, length):
            raise _busy(_FULL)  # before it is sent
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._read(request, most)
        except TimeoutError:
            raise Failed(
                408,
                f"the body did not come in {_BODY_SECONDS:g} s, or not {_LEAST_BYTES} bytes of it "
                f"in {_LEAST_SECONDS:g} s",
            ) from None

    async def _read(self, request: web.Request, most: int) -> bytes:
        body = bytearray()
        enough = _LEAST_BYTES
        async with asyncio.timeout(_LEAST_SECONDS) as stalled:
            async for piece in request.content.iter_any():
                if len(body) + len(piece) > most:
                    raise Failed(413, f"the body has more than {most} bytes, which are the most")
                self._hold(request, len(piece))
                body += piece
                if len(body) >= enough:
                    enough = len(body) + _LEAST_BYTES
                    stalled.reschedule(asyncio.get_running_loop().time() + _LEAST_SECONDS)
        return bytes(body)

    def _hold(self, request: web.Request, more: int) -> None:
        """So many bytes more, until the request is answered. Raises Failed."""
        share = request.get(_HELD, 0) + more
        if not self._fits(share, more):
            raise _busy(_FULL)
        request[_HELD] = share
        self._held += more

    def _fits(self, share: int, more: int) -> bool:
        """Whether a request that then has ``share`` bytes may hold ``more``."""
        most = _HELD_BYTES + (_FOR_SMALL_BYTES if share <= _SMALL_BYTES else 0)
        return self._held + more <= most

    # --- language models ---------------------------------------------------------------------

    async def _models(self, request: web.Request) -> web.Response:
        self._loaded()
        one = {"id": self.name, "object": "model", "created": 0, "owned_by": "trainingjob"}
        return _answer({"object": "list", "data": [one]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._completed(request, chat=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._completed(request, chat=True)

    async def _completed(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        self._loaded()
        answers = self.state.completions
        if answers is None:
            words = f"is no language model: ask POST /v2/models/{self.name}/infer"
            raise Failed(404, f"{self.name} {words}")
        body = await self._body(request)
        try:
            return await answers.answer(request, body, chat=chat)
        except turns.Busy:
            raise _busy(f"{answers.turns.queued} requests wait") from None

    # --- for people ---------------------------------------------------------------------------

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self.metrics.text(), headers={"Content-Type": self.metrics.content_type}
        )

    async def _page(self, request: web.Request) -> web.Response:
        served = self._loaded()
        if isinstance(served, Language):
            return web.Response(
                text=page.of_language(self.name, served),
                content_type="text/html",
                headers=page.HEADERS,
            )
        given = {name: value for name, value in request.query.items() if name in served.inputs}
        return web.Response(
            text=await page.written(self.name, served, given, self._one),
            content_type="text/html",
            headers=page.HEADERS,
        )

    async def _one(self, columns: Any) -> Any:
        """The answer to a row of the page's form."""
        assert self.state.batches is not None
        try:
            return await self.state.batches.answers(columns, 1)
        except Busy:
            raise _busy("as many rows wait as may") from None


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    """Who does not take an answer is left: it would be held until they do."""
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # they have gone


def event(name: str, **more: Any) -> str:
    """A line of the log."""
    told = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": name, **more}
    return json.dumps(told, ensure_ascii=False)


def _busy(why: str) -> Failed:
    return Failed(429, f"{why}: try again later", {"Retry-After": _RETRY_SECONDS})


def _answer(value: Any) -> web.Response:
    return web.Response(body=json.dumps(value, ensure_ascii=False).encode(), content_type=_JSON)


def _error(
    path: str,
    status: int,
    words: str,
    headers: dict[str, str] | None = None,
    name: str | None = None,
) -> web.Response:
    """In the form that those who ask for ``path`` read; ``name``: of the field that is wrong."""
    told = completions.error(status, words, name) if path.startswith("/v1/") else {"error": words}
    body = json.dumps(told, ensure_ascii=False).encode(errors="replace")
    return web.Response(status=status, body=body, content_type=_JSON, headers=headers)
