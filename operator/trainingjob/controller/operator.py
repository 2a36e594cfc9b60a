"""The operator as a whole: what runs, in which order it starts and ends."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import kopf
from aiohttp import web

from ..cluster import Api, Cache, ClusterError, Credentials, Gateway, Key
from ..cluster.errors import Conflict, NotFound, Unavailable
from ..cluster.resources import DISCOVERY, Resource
from ..cluster.session import connect
from ..core import Settings
from . import health, progress
from .certificate import Authority, authority
from .ending import Ending
from .feed import Gate, Glance, watch
from .listener import Listener
from .metrics import Metrics
from .queue import WorkQueue
from .reconcile import Reconciler
from .scopes import Backoff, Scope, Scopes
from .settings import Options, configure_kopf
from .tokens import Tokens

logger = logging.getLogger(__name__)

# How often what may be absent is not there, one after the other, until it counts as gone.
_MISSES = 3
# For namespaces that have no job looked at, while those of others wait for slow answers.
_SPARE_WORKERS = 2


class BrokenError(RuntimeError):
    """A part of the operator has ended, and it with it; the message is one line."""


class Operator:
    """One process: kopf, which watches, and what is done about it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue(self._cache.begun, shared=options.workers)
        self._metrics = Metrics()
        self._reports = progress.Reports()
        self._scopes = Scopes(
            options.scopes,
            options.watched,
            patience=options.blind_seconds,
            stale=options.stale_seconds,
        )
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._waiting = ""
        self._busy = 0
        self._draining = False

    async def run(self, ending: Ending) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ClusterError when there are no usable credentials, OSError when the port is taken,
        BrokenError when a part of us broke.
        """
        ending.orderly(self._stop, self._options.drain_seconds + self._options.end_seconds)
        credentials = await Credentials.load(self._options.kubeconfig)
        async with self._stack:
            # First of all: an operator that waits for its API server is alive, and not ready.
            await self._serve_http()
            self._spawn(self._serve(credentials, ending), "the operator")
            await self._stop.wait()
            broken = None if ending.asked else self._broken()
            ending.begin(1 if broken else 0)
            await self._end(ending)
        if broken is not None:
            raise broken

    async def _serve(self, credentials: Credentials, ending: Ending) -> None:
        session: aiohttp.ClientSession = await self._stack.enter_async_context(
            credentials.session()
        )
        api = Api(credentials.server, session, self._metrics.called)
        gateway = Gateway(api)
        self._metrics.show(
            self._queue,
            lambda: self._cache.phases().items(),
            lambda: self._scopes.age(time.monotonic()),
            lambda: self._scopes.rows(time.monotonic()),
        )
        await connect(api, DISCOVERY, self._options.connect_seconds, self._wait)
        self._waiting = ""
        await self._watch(credentials, ending)
        reconciler = Reconciler(
            self._cache, gateway, await self._listen(gateway), self._metrics, self._reports
        )
        for scope in self._scopes:
            self._spawn(self._keep(scope, gateway, reconciler), f"the list of {scope.words}")
            if self._options.listed:
                work = self._poll(scope, gateway, reconciler)
                self._spawn(work, f"the list of what is not watched in {scope.words}")
        if self._options.pod_groups:
            await self._ask(reconciler.children.look_for_pod_groups)
        for number in range(self._options.workers + _SPARE_WORKERS):
            self._spawn(self._work(reconciler), f"worker {number}")
        await self._look_after_watches()

    async def _ask(self, question: Callable[[], Awaitable[None]]) -> None:
        """What has to be known before any job is looked at."""
        while True:
            try:
                await question()
            except ClusterError as error:
                self._wait(str(error))
                await asyncio.sleep(self._options.connect_seconds)
            else:
                self._waiting = ""
                return

    def _wait(self, why: str) -> None:
        words = f"waiting for {DISCOVERY} to be served: {why}"
        if words != self._waiting:
            logger.warning("%s", words)
        self._waiting = words

    async def _watch(self, credentials: Credentials, ending: Ending) -> None:
        """Start kopf, and be told when any part of it ends: none does by itself."""
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        configure_kopf(settings, self._options.watched)
        watch(registry, self._options.watched, self._cache, self._queue)
        gate = Gate(self._scopes, self._cache)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            # kopf closes its session when it is told 401: it gets one of its own each time. A
            # watch holds a connection, and there are three for each namespace.
            session = credentials.session(gate, connections=0, response_class=Glance)
            return kopf.AiohttpSession(server=credentials.server, aiohttp_session=session)

        with ending.kept():
            parts = await kopf.spawn_tasks(
                registry=registry,
                settings=settings,
                clusterwide=not self._options.namespaces,
                namespaces=self._options.namespaces,
                standalone=True,
            )
        for part in parts:
            self._part(part)

    async def _keep(self, scope: Scope, gateway: Gateway, reconciler: Reconciler) -> None:
        """List what kopf watches: after it has listed, and from time to time."""
        backoff = Backoff()
        while True:
            # Not all operators of a cluster at once.
            pause = self._options.resync_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            with suppress(TimeoutError):
                await asyncio.wait_for(scope.wanted.wait(), pause)
            if not scope.watched:
                continue
            scope.list_begins()
            first = scope.listed_at is None
            try:
                for resource in self._options.watched:
                    await self._list(resource, scope, gateway)
                await self._list_extra(scope, gateway, reconciler)
            except ClusterError as error:
                scope.list_failed(str(error))
                await asyncio.sleep(backoff.longer())
                continue
            backoff.reset()
            for job in scope.listed(time.monotonic()):
                self._queue.add(job)
            if first:
                jobs = sum(self._scopes.of(job[0]) is scope for job in self._cache.jobs())
                logger.info("%s: serving %s jobs", scope.words, jobs)

    async def _poll(self, scope: Scope, gateway: Gateway, reconciler: Reconciler) -> None:
        """List what is not watched."""
        while True:
            # Not all scopes at once.
            pause = self._options.list_seconds * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(pause)
            if scope.served(time.monotonic()):
                await self._list_extra(scope, gateway, reconciler)

    async def _list_extra(self, scope: Scope, gateway: Gateway, reconciler: Reconciler) -> None:
        """Raises ClusterError when they were never listed: which models they serve is not known.
        Later, what fails is told once, and what was known stays."""
        for resource in self._options.listed:
            why = ""
            try:
                await self._list(resource, scope, gateway)
            except NotFound:
                # It may be away for a moment, as in an upgrade; what is known of them stays.
                scope.misses += 1
                if scope.listed_at is None or scope.misses >= _MISSES:
                    reconciler.children.kserve(there=False)
            except ClusterError as error:
                if scope.listed_at is None:
                    raise
                why = str(error)
            else:
                scope.misses = 0
                reconciler.children.kserve(there=True)
            if why and why != scope.unpolled:
                logger.warning("%s: cannot list %s: %s", scope.words, resource.plural, why)
            scope.unpolled = why

    async def _list(self, resource: Resource, scope: Scope, gateway: Gateway) -> None:
        pages = gateway.pages(resource, scope.namespace)
        self._take(await self._cache.replace(resource, scope.namespace, pages))

    def _take(self, jobs: Iterable[Key]) -> None:
        for job in jobs:
            self._queue.add(job)

    async def _look_after_watches(self) -> None:
        pause = self._options.silent_seconds / 18
        while True:
            await asyncio.sleep(pause)
            # Counted by our own steps: a process that was stopped for a while is not dead.
            if dead := self._scopes.silent(pause, self._options.silent_seconds):
                raise BrokenError(dead)

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
            ours.seal_key,
        )
        host = urlsplit(url).hostname or ""
        tls = ours.server(host, now)
        renewing = asyncio.create_task(ours.renewing(tls, host))
        self._stack.callback(renewing.cancel)
        refused = self._metrics.refused
        listener = await progress.serve(receiver, self._options.status_port, tls, refused)
        self._stack.push_async_callback(listener.close)
        self._reports.since = datetime.now(UTC)
        return self._options.core(ours.pem, ours.signing_key)

    async def _end(self, ending: Ending) -> None:
        """Let calls in flight end: their answers are the cheapest way to know what they did."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_seconds):
                while self._busy:
                    await asyncio.sleep(0.01)
        # What kopf leaves behind in a fall complains of its own end, and may not end at all.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        for tasks in (self._tasks, asyncio.all_tasks() - {asyncio.current_task()}):
            for task in tasks:
                task.cancel()
            if tasks:
                _, hung = await asyncio.wait(tasks, timeout=self._options.end_seconds / 4)
        if hung:
            ending.now()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._part(asyncio.create_task(work, name=name))

    def _part(self, task: asyncio.Task[None]) -> None:
        # An operator without one of its parts must not look alive.
        task.add_done_callback(lambda ended: None if ended.cancelled() else self._stop.set())
        self._tasks.append(task)

    def _broken(self) -> Exception:
        """Why the first part to end did."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        first = next((task for task in ended if task.exception() is not None), ended[0])
        error = first.exception()
        if isinstance(error, OSError | ClusterError | BrokenError):
            return error
        words = dict.fromkeys(_words(cause) for cause in _causes(error))
        return BrokenError(": ".join([f"{first.get_name()} has ended", *words]))

    # --- the work ---------------------------------------------------------------------

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self._queue.get()
            if self._draining:
                return
            scope = self._scopes.of(key[0])
            if not scope.served(time.monotonic()):
                scope.parked.add(key)
                self._queue.done(key)
                continue
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
            # What is due already does not come back sooner than what is tried again.
            if outcome.after is not None and (outcome.after > 0 or not outcome.retry):
                self._queue.add_after(key, outcome.after)
        finally:
            self._metrics.reconciled(result, time.perf_counter() - begun)

    # --- health -----------------------------------------------------------------------

    def _alive(self) -> tuple[bool, str]:
        return (False, "the operator ends") if self._stop.is_set() else (True, "")

    def _ready(self) -> tuple[bool, str]:
        ready, words = self._scopes.ready(time.monotonic())
        return ready, "\n".join(filter(None, (words, self._waiting)))

    async def _serve_http(self) -> None:
        app = health.application(self._alive, self._ready, self._metrics.registry)
        # Nobody's open connection holds up the end.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        if runner.server is None:
            raise AssertionError("it was set up")
        listener = Listener(runner.server, refused=self._metrics.refused)
        port = await listener.start(self._options.http_port)
        self._stack.push_async_callback(listener.close)
        logger.info("health and metrics at port %s", port)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _words(error: BaseException) -> str:
    # kopf's errors have the API server's whole answer beside its message.
    told = str(error.args[0] if error.args else "") or type(error).__name__
    return told.partition("\n")[0]
