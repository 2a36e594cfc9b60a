"""The operator's start among many jobs: until it is ready and has looked at all, writes, memory.

``BENCH_MANY`` has the numbers of jobs, one after the other on one control plane. All but one in ten
are over; those run. They are copies of two jobs that an operator has brought so far, with their
pods, Services and policies: a thousand that run take minutes, and their copies seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from typing import Any

from tests.cluster import config
from tests.cluster.behaviour import Behaviour, run, succeed
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.integration.harness import Namespace, Operator, gang
from trainingjob.cluster.resources import JOBS, MADE, PODS, Resource

from .operator import Client, client, in_parallel

SIZES = [int(size) for size in os.environ.get("BENCH_MANY", "1000,2000,5000,10000").split(",")]
# Goals: until all are looked at, of 5000 jobs; bytes of memory, of 10 000.
SECONDS_OF_5000, MIB = 10, 120
CHILDREN = {kind: MADE[kind] for kind in ("Pod", "Service", "NetworkPolicy")}
# Whoever watches Services and pods would work on theirs for longer than their making takes.
CONTROLLERS = [name for name in config.CONTROLLERS if not name.startswith("endpoint")]
# What the API server gives.
GIVEN = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")

Obj = dict[str, Any]


class Job:
    """A job and its children, as they stand, to be copied."""

    def __init__(self, space: Namespace, name: str) -> None:
        self.job = space.job(name)
        self.name, self.uid = name, self.job["metadata"]["uid"]
        selector = f"trainingjob.dev/job={name}"
        self.children = [
            (resource, child)
            for resource in CHILDREN.values()
            for child in space.list(resource.plural, selector)
        ]

    async def copy(self, api: Client, namespace: str, name: str) -> None:
        """Another one like it."""
        made = await self._make(api, JOBS, namespace, self.job, name, "")
        for resource, child in self.children:
            await self._make(api, resource, namespace, child, name, made["metadata"]["uid"])

    async def _make(
        self, api: Client, resource: Resource, namespace: str, obj: Obj, name: str, uid: str
    ) -> Obj:
        text = json.dumps(obj).replace(self.name, name)
        new: Obj = json.loads(text.replace(self.uid, uid) if uid else text)
        new["metadata"] = {k: v for k, v in new["metadata"].items() if k not in GIVEN}
        made = await api.post(resource.path(namespace), new)
        if resource not in (JOBS, PODS):
            return made
        path = resource.path(namespace, made["metadata"]["name"], "status")
        return await api.put(path, made | {"status": new["status"]})


def models(control_plane: ControlPlane, space: Namespace) -> tuple[Job, Job]:
    """One that is over, and one that runs."""

    def script(pod: Obj) -> Behaviour:
        return run() if "running" in pod["metadata"]["name"] else succeed()

    operator = Operator(control_plane.kubeconfig("operator"), [space.name])
    with FakeKubelet(control_plane, [space.name], 0.05, script):
        try:
            operator.start()
            for name in ("the-finished", "the-running"):
                space.run(gang(2, name))
            space.wait("the-finished", phase="Succeeded")
            space.wait("the-running", phase="Training", reason="Running")
            time.sleep(12)  # whatever follows, as the end of pods that are left
        finally:
            operator.kill()
        return Job(space, "the-finished"), Job(space, "the-running")


async def fill(control_plane: ControlPlane, namespace: str, made: range, of: Any) -> None:
    """Make these jobs."""
    over, runs = of
    async with client(control_plane) as api:
        calls: list[Callable[[], Any]] = [
            lambda n=number: (over if n % 10 else runs).copy(api, namespace, f"copy-{n}")  # type: ignore[misc]
            for number in made
        ]
        await in_parallel(calls)


def start(control_plane: ControlPlane, namespace: str, jobs: int) -> tuple[float, ...]:
    """Seconds until it is ready and until all are looked at, its CPU's, writes, MiB."""
    log = control_plane.folder / "audit.log"
    before = log.stat().st_size
    operator = Operator(control_plane.kubeconfig("operator"), [namespace])
    begun = time.perf_counter()
    try:
        operator.start()
        ready = time.perf_counter() - begun
        while operator.metric("trainingjob_reconciles_total") < jobs:
            time.sleep(0.05)
        all_seen = time.perf_counter() - begun
        cpu = operator.metric("process_cpu_seconds_total")
        time.sleep(5)  # whatever would be written
        memory = operator.metric("process_resident_memory_bytes") / 2**20
    finally:
        operator.kill()
    with log.open("rb") as file:
        file.seek(before)
        *lines, _ = file.read().split(b"\n")
    events = [json.loads(line) for line in lines]
    wrote = [
        event
        for event in events
        if event["user"]["username"] == "operator" and event["verb"] not in ("get", "list", "watch")
    ]
    assert any(event["user"]["username"] == "operator" for event in events), "it is in the log"
    return ready, all_seen, cpu, len(wrote), memory


def main() -> None:
    """Print the table."""
    users = {"operator": ("system:masters",)}
    with ControlPlane(
        crd=True, fast=True, audit=True, users=users, controllers=CONTROLLERS
    ) as control_plane:
        space = Namespace(control_plane, control_plane.namespace())
        of = models(control_plane, space)
        print("| jobs | ready | all looked at | CPU | CPU of 1000 more | writes | memory |")
        print("|---|---|---|---|---|---|---|")
        there = 2
        before: float | None = None
        for size in SIZES:
            asyncio.run(fill(control_plane, space.name, range(there, size), of))
            ready, seen, cpu, writes, memory = start(control_plane, space.name, size)
            more = "" if before is None else f"{1000 * (cpu - before) / (size - there):.2f} s"
            print(
                f"| {size} | {ready:.1f} s | {seen:.1f} s{goal(size, 5000, seen, SECONDS_OF_5000)} "
                f"| {cpu:.1f} s | {more} | {writes:.0f}{goal(size, size, writes, 0)} "
                f"| {memory:.0f} MiB{goal(size, 10_000, memory, MIB)} |",
                flush=True,
            )
            there, before = size, cpu


def goal(size: int, at: int, found: float, most: float) -> str:
    """In words, where there is one."""
    return f" (goal ≤ {most}: {'met' if found <= most else 'missed'})" if size == at else ""


if __name__ == "__main__":
    main()
