"""A kubelet for all nodes that runs nothing: it writes what a real one would.

One thread with an event loop of its own, so that tests need not be asynchronous.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import aiohttp

from . import podstatus
from .behaviour import FOREVER, Behaviour
from .controlplane import ControlPlane
from .kubeletapi import Gone, KubeletApi

NODE = "fake-node"
DEADLINE_SECONDS = 60.0
SIGTERM = Behaviour(exit_code=143, message="")
Script = Callable[[dict[str, Any]], Behaviour]


@dataclass
class _Life:
    """A pod that this kubelet has taken on."""

    pod: dict[str, Any]
    behaviour: Behaviour
    node: str = ""
    started: str = ""
    over: bool = False
    ending: bool = False  # its deletion is being carried out
    task: asyncio.Task[None] | None = None
    # One status after the other, in their order.
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class FakeKubelet:
    """A context manager; everything else may be called from any thread.

    ``namespaces``: which pods it takes on; None for all. ``duration``: seconds that a pod runs
    whose behaviour does not say. ``script``: pod -> Behaviour; called once for each pod.
    ``write_running=False`` leaves out the status Running of pods that end by themselves.
    ``bind``: bind all pods to a node, and not only those whose behaviour needs one.
    ``ips``: give running pods an address.
    """

    def __init__(
        self,
        control_plane: ControlPlane | Path,
        namespaces: Sequence[str] | None = None,
        duration: float = 0.2,
        script: Script | None = None,
        *,
        write_running: bool = True,
        bind: bool = False,
        ips: bool = False,
    ) -> None:
        if isinstance(control_plane, ControlPlane):
            control_plane = control_plane.kubeconfig()
        self._api = KubeletApi(control_plane, namespaces)
        self._duration = duration
        self._script = script or (lambda pod: Behaviour())
        self._write_running = write_running
        self._bind = bind
        self._ips = ips
        self._addresses = 0
        self._lives: dict[str, _Life] = {}
        self._lost_nodes: set[str] = set()
        self._writes: set[asyncio.Task[None]] = set()
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kubelet", daemon=True)
        self._cpu = 0.0
        self.errors: list[BaseException] = []

    # --- for tests -----------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listed.wait(DEADLINE_SECONDS) or self.errors:
            raise RuntimeError("the fake kubelet did not start") from next(iter(self.errors), None)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended already: see errors
            self._loop.call_soon_threadsafe(self._main_task.cancel)
        self._thread.join()
        if self.errors and kind is None:
            raise RuntimeError("the fake kubelet had an error") from self.errors[0]

    def tell(self, pod: str, behaviour: Behaviour, namespace: str | None = None) -> None:
        """From now on the pod behaves so; returns when all that follows has been written.

        Waits until the pod is there. What has been begun is not begun again: a pod that runs is
        ended after the new behaviour's seconds, 0 where it says nothing, and one that is stuck in
        its deletion is deleted.
        """
        asyncio.run_coroutine_threadsafe(self._tell(pod, behaviour, namespace), self._loop).result()

    @property
    def cpu_seconds(self) -> float:
        """What its thread has used so far."""
        if self._thread.is_alive() and self._thread.ident is not None:
            self._cpu = time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
        return self._cpu

    @property
    def writes(self) -> int:
        """Requests that were no reads."""
        return self._api.writes

    # --- the loop ------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._cpu = time.thread_time()
            self._listed.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main_task = task
        async with self._api:
            try:
                await self._follow()
            finally:
                await self._end_lives()

    async def _follow(self) -> None:
        pause = 0.05
        while True:
            try:
                pods, version = await self._api.list()
                self._take_on_all(pods)
                self._listed.set()
                pause = 0.05
                async for kind, pod in self._api.watch(version):
                    self._see(kind, pod)
            except (Gone, aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)

    async def _end_lives(self) -> None:
        """While there is a session still: what writes would fail without."""
        tasks = [life.task for life in self._lives.values() if life.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._writes, return_exceptions=True)

    def _take_on_all(self, pods: list[dict[str, Any]]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for life in [life for uid, life in self._lives.items() if uid not in present]:
            self._see("DELETED", life.pod)
        for pod in pods:
            self._see("ADDED", pod)

    def _see(self, kind: str, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            life = self._lives.pop(uid, None)
            if life is not None and life.task is not None:
                life.task.cancel()
            return
        life = self._lives.get(uid)
        if life is None:
            life = self._take_on(pod)
        life.pod = pod
        # Without grace the API server is deleting it itself, at this moment.
        if pod["metadata"].get("deletionGracePeriodSeconds") and not life.ending:
            self._begin_end(life)

    def _take_on(self, pod: dict[str, Any]) -> _Life:
        life = _Life(pod, Behaviour(), node=pod["spec"].get("nodeName", ""))
        self._lives[pod["metadata"]["uid"]] = life
        status = pod.get("status", {})
        life.over = status.get("phase") in ("Succeeded", "Failed")
        if status.get("phase") == "Running":
            # Another kubelet of ours has begun it.
            life.started = status.get("startTime") or podstatus.now()
        if life.over or "deletionTimestamp" in pod["metadata"]:
            return life
        try:
            life.behaviour = self._script(pod)
        except Exception as error:
            self.errors.append(error)
            life.behaviour = Behaviour(start=False)
        self._spawn(life, self._live(life, life.behaviour, self._duration))
        return life

    def _spawn(self, life: _Life, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if life.task is not None:
            life.task.cancel()
        life.task = asyncio.get_running_loop().create_task(what)
        life.task.add_done_callback(self._done)
        return life.task

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _write(self, life: _Life, write: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Also when its caller is cancelled: what may have been sent must not be overtaken."""

        async def in_turn() -> None:
            async with life.writing:
                await write(*args)

        task = asyncio.get_running_loop().create_task(in_turn())
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        await asyncio.shield(task)

    async def _tell_status(self, life: _Life, status: dict[str, Any]) -> None:
        await self._write(life, self._api.patch_status, life.pod, status)

    # --- a pod's life --------------------------------------------------------------------------
    async def _live(self, life: _Life, behaviour: Behaviour, duration: float) -> None:
        if not behaviour.start or life.over:
            return
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.unschedulable:
            await self._tell_status(life, podstatus.unschedulable(behaviour.unschedulable))
            return
        if (behaviour.bound or self._bind) and not life.node:
            await self._place(life, behaviour)
        if behaviour.waiting is not None:
            await self._tell_status(life, podstatus.waiting(life.pod, *behaviour.waiting))
            return
        if behaviour.crashed is not None:
            await self._tell_status(life, podstatus.crashed(life.pod, behaviour.crashed))
            return
        seconds = duration if behaviour.seconds is None else behaviour.seconds
        if not life.started:
            await self._start(life, behaviour, seconds)
        while behaviour.meets and not self._find(
            behaviour.meets, life.pod["metadata"]["namespace"]
        ):
            await asyncio.sleep(0.01)
        if seconds != FOREVER:
            await asyncio.sleep(seconds)
            await self._finish(life, behaviour)

    async def _place(self, life: _Life, behaviour: Behaviour) -> None:
        own = f"lost-{life.pod['metadata']['uid'][:8]}" if behaviour.node_lost else NODE
        life.node = behaviour.node or own
        await self._write(life, self._api.bind, life.pod, life.node)

    async def _start(self, life: _Life, behaviour: Behaviour, seconds: float) -> None:
        life.started = podstatus.now()
        stays = seconds == FOREVER or behaviour.deleted or behaviour.node_lost
        if stays or (self._write_running and seconds > 0):
            ip = self._address() if self._ips else ""
            await self._tell_status(
                life, podstatus.running(life.pod, life.started, ip, ready=behaviour.ready)
            )

    async def _finish(self, life: _Life, behaviour: Behaviour) -> None:
        if behaviour.node_lost:
            # As the node life-cycle controller and the taint manager do it, without their minutes.
            self._lost_nodes.add(life.node)
            await self._write(life, self._api.delete_node, life.node)
        elif not behaviour.deleted:
            life.over = True
            await self._tell_status(life, podstatus.ended(life.pod, behaviour, life.started))
            return
        if behaviour.disrupted is not None:
            told = podstatus.disrupted(*behaviour.disrupted, ready=not behaviour.node_lost)
            await self._tell_status(life, told)
        await self._write(life, self._api.delete, life.pod)

    def _begin_end(self, life: _Life) -> None:
        life.ending = True
        if not life.behaviour.stuck and life.node not in self._lost_nodes:
            self._spawn(life, self._end(life))

    async def _end(self, life: _Life) -> None:
        """SIGTERM, the processes' grace, the last status, and only then is the pod gone."""
        await asyncio.sleep(life.behaviour.grace)
        if not life.over:
            life.over = True
            last = replace(SIGTERM, disrupted=life.behaviour.disrupted)
            started = life.started or podstatus.now()
            await self._tell_status(life, podstatus.ended(life.pod, last, started))
        await self._write(life, self._api.delete, life.pod, 0)

    async def _tell(self, name: str, behaviour: Behaviour, namespace: str | None) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (life := self._find(name, namespace)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"there is no pod {name}")
            await asyncio.sleep(0.01)
        life.behaviour = behaviour
        goes_on = self._end(life) if life.ending else self._live(life, behaviour, 0.0)
        await asyncio.wait([self._spawn(life, goes_on)])

    def _find(self, name: str, namespace: str | None) -> _Life | None:
        for life in self._lives.values():
            meta = life.pod["metadata"]
            if meta["name"] == name and namespace in (None, meta["namespace"]):
                return life
        return None

    def _address(self) -> str:
        self._addresses += 1
        return f"198.19.{self._addresses // 250 % 256}.{self._addresses % 250 + 1}"
