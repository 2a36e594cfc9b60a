"""The operator as a whole: what runs, in which order it starts and ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import kopf
from aiohttp import web

from ..cluster import WATCHED, Api, Cache, ClusterError, Credentials, Gateway, Key
from ..cluster.errors import Conflict, Unavailable
from ..cluster.resources import DISCOVERY
from ..cluster.session import connect
from ..core import Settings
from . import health, progress
from .certificate import Authority, authority
from .feed import Glance, Listings, watch
from .listener import Listener
from .metrics import Metrics
from .queue import WorkQueue
from .reconcile import Reconciler
from .settings import Options, configure_kopf
from .tokens import Tokens

logger = logging.getLogger(__name__)


class Operator:
    """One process. kopf owns the event loop's life; we start and end with it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue(self._cache.begun)
        self._metrics = Metrics()
        self._reports = progress.Reports()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._resynced: float | None = None
        self._busy = 0
        self._draining = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ClusterError when there are no usable credentials, OSError when the port is taken,
        RuntimeError when a part of us broke.
        """
        credentials = await Credentials.load(self._options.kubeconfig)
        registry = kopf.OperatorRegistry()
        watch(registry, self._cache, self._queue.add)
        self._listings = Listings(self._options.scopes)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            # kopf closes its session when it is told 401: it gets one of its own each time.
            session = credentials.session(self._listings, response_class=Glance)
            return kopf.AiohttpSession(server=credentials.server, aiohttp_session=session)

        @kopf.on.startup(registry=registry)
        async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
            configure_kopf(settings)
            await self._start(credentials)

        @kopf.on.cleanup(registry=registry)
        async def cleanup(**_: Any) -> None:
            await self._end()

        async with self._stack:
            # First of all: an operator that waits for its API server is alive, and not ready.
            await self._serve_http()
            await kopf.operator(
                registry=registry,
                settings=kopf.OperatorSettings(),
                clusterwide=not self._options.namespaces,
                namespaces=self._options.namespaces,
                standalone=True,
                stop_flag=self._stop,
            )
        for task in self._tasks:
            error = task.exception() if task.done() and not task.cancelled() else None
            if isinstance(error, OSError):
                raise error
            if error is not None:
                raise RuntimeError("a part of the operator broke") from error

    async def _start(self, credentials: Credentials) -> None:
        session: aiohttp.ClientSession = await self._stack.enter_async_context(
            credentials.session()
        )
        api = Api(credentials.server, session, self._metrics.called)
        gateway = Gateway(api)
        self._metrics.show(
            self._queue, lambda: self._cache.phases().items(), lambda: self._resync_age
        )
        await connect(
            api,
            DISCOVERY,
            self._options.connect_seconds,
            lambda why: logger.warning("waiting for %s to be served: %s", DISCOVERY, why),
        )
        self._spawn(self._go_on(gateway), "resync")

    async def _go_on(self, gateway: Gateway) -> None:
        """Nothing is decided before everything is known, and kopf tells what changes."""
        await self._listings.complete.wait()
        await self._resync(gateway)
        reconciler = Reconciler(
            self._cache, gateway, await self._listen(gateway), self._metrics, self._reports
        )
        for number in range(self._options.workers):
            self._spawn(self._work(reconciler), f"worker {number}")
        logger.info("serving %s jobs", len(self._cache.jobs()))
        while True:
            # Not all operators of a cluster at once.
            pause = self._options.resync_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            with suppress(TimeoutError):
                await asyncio.wait_for(self._listings.listed.wait(), pause)
            await self._resync(gateway)

    async def _listen(self, gateway: Gateway) -> Settings:
        """Take reports of progress, if pods can reach us; the settings that tell them how."""
        url, now = self._options.status_url, datetime.now(UTC)
        if url is None:
            return self._options.core()
        if self._options.status_secret is None:
            ours = Authority.make(now, kept=False)
        else:
            namespace, _, name = self._options.status_secret.partition("/")
            ours = await authority(gateway, namespace, name, now)
        receiver = progress.Receiver(
            self._cache,
            Tokens(gateway),
            self._reports,
            self._queue.add_after,
            self._metrics.reported,
        )
        tls = ours.server(urlsplit(url).hostname or "", now)
        refused = self._metrics.refused
        listener = await progress.serve(receiver, self._options.status_port, tls, refused)
        self._stack.push_async_callback(listener.close)
        self._reports.since = datetime.now(UTC)
        return self._options.core(ours.pem, ours.signing_key)

    async def _end(self) -> None:
        """Let calls in flight end: their answers are the cheapest way to know what they did."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_seconds):
                while self._busy:
                    await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        # An operator without one of its parts must not look alive.
        task.add_done_callback(lambda ended: None if ended.cancelled() else self._stop.set())
        self._tasks.append(task)

    # --- the work ---------------------------------------------------------------------

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self._queue.get()
            if self._draining:
                return
            self._busy += 1
            try:
                await self._reconcile(reconciler, key)
            finally:
                self._busy -= 1
                self._queue.done(key)

    async def _reconcile(self, reconciler: Reconciler, key: Key) -> None:
        begun, result = time.perf_counter(), "failed"
        try:
            outcome = await reconciler.reconcile(key)
        except Unavailable as error:
            result = "retried"
            logger.warning("%s/%s: %s", *key, error)
            self._queue.retry(key, error.retry_after or 0.0)
        except Conflict:
            # Somebody else wrote; the watch brings what.
            result = "retried"
            self._queue.retry(key)
        except ClusterError as error:
            result = "retried"
            logger.error("%s/%s: the API server refused: %s", *key, error)
            self._queue.retry(key)
        except Exception:
            # One job's bug is not the others'.
            logger.exception("%s/%s: this is a bug of the operator", *key)
            self._queue.retry(key)
        else:
            result = "changed" if outcome.again else "unchanged"
            if outcome.retry:
                self._queue.retry(key)
            else:
                self._queue.succeeded(key)
                if outcome.again:
                    self._queue.add(key)
            if outcome.after is not None:
                self._queue.add_after(key, outcome.after)
        finally:
            self._metrics.reconciled(result, time.perf_counter() - begun)

    # --- the resync -------------------------------------------------------------------

    async def _resync(self, gateway: Gateway) -> None:
        while True:
            self._listings.listed.clear()
            try:
                for resource in WATCHED:
                    for namespace in self._options.scopes:
                        pages = gateway.pages(resource, namespace)
                        for job in await self._cache.replace(resource, namespace, pages):
                            self._queue.add(job)
            except ClusterError as error:
                logger.warning("cannot list what is to be watched: %s", error)
                await asyncio.sleep(self._options.connect_seconds)
            else:
                self._resynced = time.monotonic()
                return

    # --- health -----------------------------------------------------------------------

    @property
    def _resync_age(self) -> float:
        return float("inf") if self._resynced is None else time.monotonic() - self._resynced

    def _alive(self) -> str:
        return "a part of the operator has ended" if self._stop.is_set() else ""

    def _ready(self) -> str:
        if self._resynced is None:
            return "the first list of jobs and pods is not complete yet"
        limit = self._options.resync_seconds * self._options.stale_resyncs
        if self._resync_age > limit:
            return f"the last complete list of jobs and pods is {self._resync_age:.0f} s old"
        return ""

    async def _serve_http(self) -> None:
        app = health.application(self._alive, self._ready, self._metrics.registry)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        if runner.server is None:
            raise AssertionError("it was set up")
        listener = Listener(runner.server, refused=self._metrics.refused)
        port = await listener.start(self._options.http_port)
        self._stack.push_async_callback(listener.close)
        logger.info("health and metrics at port %s", port)
