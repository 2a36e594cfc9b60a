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
        await asyncio.to_thread(self._reader.shutdown, cancel_futures=True)
