"""Every status that a job ever had, as the API server tells it to a watcher of ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.cluster.controlplane import ControlPlane

PATH = "/apis/trainingjob.dev/v1alpha1/trainingjobs"


@dataclass
class Trail:
    """Of one job: all its versions, in their order, with the moments at which they came."""

    versions: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    gone: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, job: dict[str, Any], gone: bool) -> None:
        self.versions.append((time.monotonic(), job))
        self.gone = gone
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> float:
        """Wait for a version of which that holds; the moment when it came."""
        seen = 0
        while True:
            news = self._news
            for moment, job in self.versions[seen:]:
                if (job.get("status") or {}).get("phase") and holds(job):
                    return moment
            seen = len(self.versions)
            await news.wait()

    async def until_gone(self) -> float:
        """Wait until the job is no more."""
        while not self.gone:
            await self._news.wait()
        return self.versions[-1][0]

    @property
    def last(self) -> dict[str, Any]:
        return self.versions[-1][1] if self.versions else {}


class Trails:
    """Of all jobs; an asynchronous context manager."""

    def __init__(self, control_plane: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._plane = control_plane
        self._session = session
        self._trails: dict[tuple[str, str], Trail] = {}

    async def __aenter__(self) -> Self:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._follow(ready))
        await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def of(self, namespace: str, name: str) -> Trail:
        return self._trails.setdefault((namespace, name), Trail())

    def forget(self, namespace: str, name: str) -> None:
        self._trails.pop((namespace, name), None)

    async def _follow(self, ready: asyncio.Event) -> None:
        async with self._session.get(self._plane.server + PATH) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        while True:
            params = {"watch": "true", "resourceVersion": version}
            async with self._session.get(self._plane.server + PATH, params=params) as answer:
                ready.set()
                rest = b""
                async for data in answer.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        version = self._see(json.loads(line))

    def _see(self, event: dict[str, Any]) -> str:
        job = event["object"]
        if event["type"] == "ERROR":
            raise RuntimeError(f"the watch of the tests was ended: {job}")
        meta = job["metadata"]
        self.of(meta["namespace"], meta["name"]).add(job, event["type"] == "DELETED")
        return str(meta["resourceVersion"])
