"""SIGTERM ends the operator in time, whatever it hangs in."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import config
from tests.cluster.build import ROOT
from tests.cluster.controlplane import ControlPlane
from tests.cluster.faults import SILENCE, Faults
from tests.cluster.wait import wait_for
from trainingjob.controller import settings

from .harness import JOBS, Namespace, Operator, gang

# settings.Options: 10 s for calls in flight and 5 for the rest. Here they are shorter where
# something hangs, and the processes share two cores with others.
TIMES = {"drain_seconds": 2.0, "end_seconds": 2.0}
LIMIT = 4.0
SLACK = 3.0


class World:
    """A control plane behind a proxy, a namespace, and an operator that is not started yet."""

    def __init__(self, control_plane: ControlPlane, faults: Faults, name: str) -> None:
        self.faults = faults
        self.control_plane = control_plane
        self.space = Namespace(control_plane, name)
        self.operator = Operator(faults.kubeconfig(), [name], times=TIMES)
        self.stack = contextlib.ExitStack()

    def elsewhere(self, port: int) -> Path:
        """An operator whose API server is at this port."""
        plane = self.control_plane
        path = plane.folder / f"kubeconfig-at-{port}"
        server = f"https://127.0.0.1:{port}"
        path.write_text(config.kubeconfig(server, plane.ca_file, "admin", plane.token()))
        self.operator = Operator(path, [self.space.name], times=TIMES)
        return path

    def started(self) -> None:
        self.operator.start(ready=False)
        wait_for("it to be alive", lambda: self.operator.http("/healthz")[0] == 200)

    def says(self, words: str) -> None:
        wait_for(words, lambda: words in self.operator.log())


@pytest.fixture(scope="module")
def faults(control_plane: ControlPlane) -> Iterator[Faults]:
    with Faults(control_plane) as faults:
        yield faults


@pytest.fixture
def world(control_plane: ControlPlane, faults: Faults, namespace: str) -> Iterator[World]:
    made = World(control_plane, faults, namespace)
    yield made
    made.operator.kill()
    made.stack.close()
    faults.fault = lambda path, watch: None


def refused(world: World) -> None:
    world.elsewhere(1)
    world.started()
    world.says("waiting for")


def mute(world: World) -> None:
    """As one that is stopped: the kernel accepts for it."""
    listening = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    world.elsewhere(listening.getsockname()[1])
    world.started()


def no_crd(world: World) -> None:
    world.faults.fault = lambda path, watch: 404 if path == f"/{JOBS}" else None
    world.started()
    world.says("a fault of the test")


def kopf_begins(world: World) -> None:
    """It is not told which kinds there are."""
    world.faults.fault = lambda path, watch: SILENCE if path == "/apis" else None
    world.started()


def forbidden(world: World) -> None:
    world.faults.fault = lambda path, watch: 403 if path.endswith("/pods") else None
    world.started()
    world.says("cannot watch pods")


def serves(world: World) -> None:
    world.operator.start()


def calls_hang(world: World) -> None:
    """With a call in flight."""
    asked: list[str] = []

    def fault(path: str, watch: bool) -> str | None:
        if watch:
            return None
        asked.append(path)
        return SILENCE

    world.operator.start()
    world.faults.fault = fault
    world.space.run(gang(1))
    wait_for("a call", lambda: asked)


def all_hangs(world: World) -> None:
    calls_hang(world)
    world.faults.fault = lambda path, watch: SILENCE
    world.faults.cut()


def blocked(world: World) -> None:
    """The event loop does nothing any more (see hurried.py)."""
    world.operator.start()
    world.operator.signal(signal.SIGUSR1)
    wait_for("it to be blocked", lambda: world.operator.http("/healthz")[0] == 0)


def frozen_client(world: World) -> None:
    """Somebody's connection to the metrics stays open."""
    world.operator.start()
    client = world.stack.enter_context(socket.create_connection(("127.0.0.1", world.operator.port)))
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: operator\r\n")


@pytest.mark.parametrize(
    ("what", "state", "seconds"),
    [
        ("the API server refuses connections at the start", refused, 0.0),
        ("the API server is stopped at the start", mute, 0.0),
        ("the CRD is not there", no_crd, 0.0),
        ("kopf begins", kopf_begins, 0.0),
        ("a right is missing", forbidden, 0.0),
        ("all is well", serves, 0.0),
        ("a client is slow", frozen_client, 1.0),
        ("a call hangs", calls_hang, 2.0),
        ("everything hangs", all_hangs, 2.0),
        ("it hangs itself", blocked, LIMIT),
    ],
)
def test_sigterm_ends_it_in_time_with_zero(
    world: World, what: str, state: Callable[[World], None], seconds: float
) -> None:
    state(world)
    begun = time.monotonic()

    assert world.operator.stop() == 0
    assert time.monotonic() - begun < seconds + SLACK
    assert "Traceback" not in world.operator.log()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(world: World, second: signal.Signals) -> None:
    world.operator = Operator(world.faults.kubeconfig(), [world.space.name])
    calls_hang(world)
    world.operator.signal(signal.SIGTERM)
    wait_for("it to begin", lambda: world.operator.http("/healthz")[0] == 503)
    begun = time.monotonic()
    world.operator.signal(second)

    assert world.operator.wait() == 0
    assert time.monotonic() - begun < SLACK


def test_sigterm_ends_it_while_it_imports(control_plane: ControlPlane) -> None:
    """The first process of a container does not die of a signal without a handler."""
    early = Operator(control_plane.kubeconfig())
    early.start(ready=False)
    wait_for("its handler", lambda: _handles(early.pid, signal.SIGTERM))

    assert early.stop() == 0
    assert early.log() == ""


def _handles(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_its_time_fits_into_that_of_its_pod() -> None:
    template = ROOT / "charts/trainingjob-operator/templates/deployment.yaml"
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", template.read_text())
    times = settings.Options()

    assert times.drain_seconds + times.end_seconds <= int(grace) / 2
