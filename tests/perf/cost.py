"""What a gang job costs the control plane: processor time by process, writes by kind and writer.

Scripts that make the same pods, and more and more of the other objects, in turns with the operator,
each in a namespace of its own, all of one control plane. Nothing here is seconds of the clock: of a
machine that others use as well, these say nothing. ``BENCH_COST`` names the ways that are compared,
``BENCH_JOBS`` and ``BENCH_ROUNDS`` how many jobs at once, and how often.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.integration.harness import Operator

from . import operator as bench
from .operator import clear, written_by

JOBS = int(os.environ.get("BENCH_JOBS", "40"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
# Whatever the controllers have left to do.
SETTLE_SECONDS = 4.0
IDLE_SECONDS = 5.0
POD_SECONDS = float(os.environ.get("BENCH_POD_SECONDS", "0.2"))
PARTS = ("kube-apiserver", "etcd", "kube-controller-manager")
_TICKS = os.sysconf("SC_CLK_TCK")

# What is made beside the pods of a job; None: whatever the operator makes.
WAYS: dict[str, tuple[str, ...] | None] = {
    "bare": (),
    "policy": ("NetworkPolicy",),
    "service": ("Service",),
    "same": ("NetworkPolicy", "Service"),
    "operator": None,
}


def processes(folder: Path) -> dict[str, int]:
    """Process numbers of a control plane's components, by name."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = Path(words[0]).name
        if name in PARTS and any(str(folder) in word for word in words):
            found[name] = int(path.parent.name)
    return found


def cpu(pid: int) -> float:
    """Seconds of processors that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Meter:
    """Processor time of some processes from here on."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._before = self._now()
        self._begun = time.monotonic()

    def _now(self) -> dict[str, float]:
        return {name: cpu(pid) for name, pid in self._pids.items()}

    def used(self) -> dict[str, float]:
        return {name: now - self._before[name] for name, now in self._now().items()}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun


def revision(control_plane: ControlPlane) -> int:
    """etcd's."""
    answer = control_plane.request("GET", "/api/v1/namespaces")[1]
    return int(answer["metadata"]["resourceVersion"])


class Found:
    """Of one way, round by round."""

    def __init__(self) -> None:
        self.cpu: dict[str, list[float]] = defaultdict(list)
        self.writes: dict[str, Counter[str]] = {}
        self.revisions: list[float] = []
        self.jobs = 0


def one(control_plane: ControlPlane, way: str, found: Found, idle: dict[str, float]) -> None:
    """A burst by this way."""
    namespace = control_plane.namespace()
    operator: Operator | None = None
    pids = processes(control_plane.folder)
    with FakeKubelet(control_plane, [namespace], POD_SECONDS, bind=True, ips=True) as kubelet:
        try:
            if way.startswith("operator"):
                operator = Operator(control_plane.kubeconfig("operator"), [namespace]).start()
                pids["operator"] = operator.pid
            meter, before = Meter(pids), revision(control_plane)
            kubelets = kubelet.cpu_seconds
            if operator is not None:
                asyncio.run(bench.burst_of_operator(control_plane, namespace))
            else:
                asyncio.run(script(control_plane, namespace, WAYS[way] or ()))
            time.sleep(SETTLE_SECONDS)
            used, seconds = meter.used(), meter.seconds
            revisions = revision(control_plane) - before
        finally:
            if operator is not None:
                operator.kill()
    for name, spent in used.items():
        found.cpu[name].append(1000 * (spent - idle.get(name, 0.0) * seconds) / JOBS)
    found.cpu["kubelet"].append(1000 * (kubelet.cpu_seconds - kubelets) / JOBS)
    found.revisions.append(revisions / JOBS)
    for writer, counted in written_by(control_plane, namespace).items():
        found.writes.setdefault(writer, Counter()).update(counted)
    found.jobs += JOBS
    clear(control_plane, namespace)


async def script(control_plane: ControlPlane, namespace: str, kinds: tuple[str, ...]) -> None:
    """A burst with no controller."""
    await bench.burst_of_script(control_plane, namespace, kinds=kinds)


def main() -> None:
    """Print the table."""
    bench.BURST = JOBS
    ways = os.environ.get("BENCH_COST", ",".join(WAYS)).split(",")
    found = {way: Found() for way in ways}
    users = {"operator": ("system:masters",)}
    with ControlPlane(crd=True, fast=True, audit=True, users=users) as control_plane:
        one(control_plane, ways[-1], Found(), {})  # what is done once
        meter = Meter(processes(control_plane.folder))
        time.sleep(IDLE_SECONDS)
        idle = {name: spent / meter.seconds for name, spent in meter.used().items()}
        for number in range(ROUNDS):
            for way in ways if number % 2 == 0 else reversed(ways):
                one(control_plane, way, found[way], idle)
                print(f"round {number}: {way}", file=sys.stderr, flush=True)
    report(found)


def report(found: dict[str, Found]) -> None:
    """Medians of the rounds."""
    names = [*PARTS, "operator", "kubelet"]
    print("| | " + " | ".join(names) + " | server and its controllers | writes | revisions |")
    print("|" + "---|" * (len(names) + 4))
    for way, what in found.items():
        spent = {name: statistics.median(what.cpu.get(name) or [0.0]) for name in names}
        whole = statistics.median(
            [sum(what.cpu[name][n] for name in PARTS) for n in range(len(what.revisions))]
        )
        writes = sum(sum(counted.values()) for counted in what.writes.values()) / what.jobs
        cells = [f"{spent[name]:.1f}" for name in names]
        cells += [f"{whole:.1f}", f"{writes:.1f}", f"{statistics.median(what.revisions):.1f}"]
        print(f"| {way} | " + " | ".join(cells) + " |")
    for way, what in found.items():
        print(f"{way}: rounds of all parts: ", end="")
        print(*(f"{sum(what.cpu[n][r] for n in PARTS):.0f}" for r in range(len(what.revisions))))
        for writer, counted in sorted(what.writes.items()):
            detail = ", ".join(f"{n / what.jobs:.2f} {name}" for name, n in counted.most_common(9))
            print(f"  {writer}: {detail}")


if __name__ == "__main__":
    main()
