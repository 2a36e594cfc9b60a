"""No job, and no pod, takes the operator down: what each costs the real process, by the kernel.

The budget: 60 MiB and a second of /healthz, for the largest jobs that the API takes, for hundreds
of them, and for thousands of connections.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

from .harness import Namespace, Operator, gang, manifest, operator
from .test_progress import to_listen

BUDGET_MIB = 60.0
BUDGET_SECONDS = 1.0
MANY = 300
CONNECTIONS = 3000
# Far more than pods are given, and all that a request to the API server may have.
LARGE_STEPS = [{"filter": {"where": "x > " + "1" * 8000}}] * 128


@pytest.fixture(scope="module")
def alone() -> Iterator[ControlPlane]:
    """One for hundreds of megabytes of jobs."""
    with ControlPlane(crd=True) as control_plane:
        yield control_plane


class Watched:
    """Memory and health of an operator while something is done to it."""

    def __init__(self, running: Operator) -> None:
        self._running = running
        self._slowest = 0.0
        self._failures = 0
        self._over = threading.Event()
        self._before = self._memory("VmRSS")
        Path(f"/proc/{running.pid}/clear_refs").write_text("5")  # its peak begins anew
        self._prober = threading.Thread(target=self._probe)
        self._prober.start()

    def _memory(self, field: str) -> float:
        """In MiB."""
        text = Path(f"/proc/{self._running.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    def _cpu(self) -> float:
        """In seconds."""
        fields = Path(f"/proc/{self._running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _probe(self) -> None:
        while not self._over.is_set():
            begun, used = time.monotonic(), self._cpu()
            self._failures += self._running.http("/healthz")[0] != 200
            # What others of the machine take meanwhile is not its doing.
            took = min(time.monotonic() - begun, self._cpu() - used + 0.01)
            self._slowest = max(self._slowest, took)
            self._over.wait(0.05)

    def end(self, before: float | None = None) -> None:
        """``before``: MiB to compare with, of an operator that has nothing to do."""
        self._over.set()
        self._prober.join()
        peak, before = self._memory("VmHWM"), before or self._before
        told = f"{before:.0f} -> {peak:.0f} MiB, /healthz {self._slowest:.2f} s"
        print(told)
        assert self._failures == 0, told
        assert peak - before <= BUDGET_MIB, told
        assert self._slowest <= BUDGET_SECONDS, told


@contextlib.contextmanager
def watched(running: Operator, before: float | None = None) -> Iterator[None]:
    looking = Watched(running)
    try:
        yield
    except BaseException:
        looking._over.set()
        raise
    looking.end(before)


def rest_memory(running: Operator) -> float:
    return running.metric("process_resident_memory_bytes") / 2**20


def large(name: str, **spec: Any) -> dict[str, Any]:
    """A job of a megabyte."""
    made = manifest(name, **spec)
    made["spec"]["preprocess"]["steps"] = LARGE_STEPS
    return made


def within_bounds(name: str, **spec: Any) -> dict[str, Any]:
    """Half a megabyte, of which pods are given as much as they can be."""
    made = manifest(name, **spec)
    made["spec"]["preprocess"]["script"] = {"inline": "#" * 65536}
    made["spec"]["train"] = {
        "nodes": 1,
        "script": {"inline": "#" * 65536},
        "args": ["x" * 4000] * 8,
    }
    made["spec"]["evaluate"]["env"] = [{"name": f"V{n}", "value": "x" * 30000} for n in range(3)]
    made["metadata"]["annotations"] = {"a/b": "x" * 250_000}
    return made


@pytest.mark.timeout(600)
def test_hundreds_of_large_jobs(alone: ControlPlane) -> None:
    """As they come, at a restart, and at each resync."""
    space = Namespace(alone, alone.namespace())
    jobs = [large(f"large-{n}", suspend=True) for n in range(MANY - 100)]
    jobs += [within_bounds(f"bounded-{n}", suspend=True) for n in range(50)]
    jobs += [large(f"theirs-{n}", managedBy="example.com/another") for n in range(50)]
    with operator(alone, space.name, arguments=["--resync-seconds=3"]) as running:
        at_rest = rest_memory(running)

        def phase(name: str) -> float:
            return running.metric("trainingjob_jobs", phase=name)

        def settled() -> bool:
            found = {name: phase(name) for name in ("Failed", "Suspended", "Pending")}
            return found == {"Failed": MANY - 100, "Suspended": 50, "Pending": 50}

        with watched(running):
            for job in jobs:
                space.run(job)
            wait_for("all to be settled", settled, 240)
        assert space.status("large-0")["reason"] == "SpecTooLarge"
        running.kill()
        running.start()
        with watched(running, at_rest):
            assert settled()
            resyncs = running.metric("trainingjob_api_calls_total", verb="GET")
            wait_for(
                "two resyncs",
                lambda: running.metric("trainingjob_api_calls_total", verb="GET") > 2.2 * resyncs,
                240,
            )
        # They are served as before.
        space.patch("trainingjobs", "bounded-7", {"spec": {"suspend": False}})
        space.wait_for_pod("bounded-7-preprocess-1-0")
        space.delete("trainingjobs", "large-7")
        wait_for("it to be gone", lambda: phase("Failed") == MANY - 101)


def test_the_largest_job(alone: ControlPlane) -> None:
    space = Namespace(alone, alone.namespace())
    columns = [f"{number:04d}".ljust(253, "x") for number in range(4096)]
    task = {"type": "classification", "label": "target", "features": columns}
    with operator(alone, space.name) as running:
        status, answer = alone.request(
            "POST", space.path("trainingjobs"), gang(1000, "columns", task=task)
        )
        assert (status, answer["reason"]) == (422, "Invalid")
        assert "features must have at most" in answer["message"]
        with watched(running):
            space.run(large("steps", train={"nodes": 1000, "model": {"mlp": {"hidden": [64]}}}))
            space.wait("steps", phase="Failed", reason="SpecTooLarge")
            assert space.pods() == []
        train = {
            "nodes": 1000,
            "dataset": {"uri": "pvc://datasets/digits"},
            "script": {"inline": "#" * 65536},
            "args": ["x" * 4000] * 8,
        }
        with watched(running):
            space.run(gang(1000, train=train))
            space.run(gang(2, "small"))
            space.wait_for_pod("small-train-1-1")
            assert space.get("pods", "gang-train-1-999") is None, "it does not wait for the large"
            space.wait_for_pod("gang-train-1-150")
            space.delete("trainingjobs", "gang")


def test_thousands_of_connections(alone: ControlPlane) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    space = Namespace(alone, alone.namespace())
    arguments = to_listen("127.0.0.1", space.name, "nothing")
    address = ("127.0.0.1", int(arguments[1].rpartition("=")[2]))
    hello = _client_hello()
    begins = (b"", hello[:100], hello)
    with operator(alone, space.name, arguments=arguments) as running:
        with watched(running), contextlib.ExitStack() as stack:
            opened: list[socket.socket] = []
            for number in range(CONNECTIONS):
                connection = stack.enter_context(socket.socket())
                connection.settimeout(10)
                connection.connect(address)
                with contextlib.suppress(OSError):
                    connection.sendall(begins[number % len(begins)])
                opened.append(connection)
            wait_for("all to be closed", lambda: _left(opened) == 0, 30)
        assert running.metric("trainingjob_refused_connections_total") > CONNECTIONS / 2
        # Half-sent headers behind a handshake, all the time.
        ends = time.monotonic() + 6
        with watched(running), contextlib.ExitStack() as stack:
            while time.monotonic() < ends:
                with contextlib.suppress(OSError):
                    plain = stack.enter_context(socket.create_connection(address, timeout=5))
                    secure = stack.enter_context(_context().wrap_socket(plain))
                    secure.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Half: ")


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _client_hello() -> bytes:
    """The first words of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def _left(connections: list[socket.socket]) -> int:
    """How many of them the other side has not closed."""
    return sum(not _closed(connection) for connection in connections)


def _closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
