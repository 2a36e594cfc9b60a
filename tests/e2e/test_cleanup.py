"""A node leaves nothing, however it ends. Each has a storage of its own, beside the tests' node."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.build import BIN, ROOT
from tests.cluster.context import MARKER
from tests.cluster.node.node import PREFIX, Node, sweep
from tests.cluster.node.storage import Storage
from tests.cluster.wait import wait_for

from .pods import Pods
from .traces import machine, processes, traces

SECONDS = 120
GPUS = "{.items[0].status.allocatable.nvidia\\.com/gpu}"
OWNER = """
import sys
from pathlib import Path
from tests.cluster.node.node import Node
from tests.cluster.node.storage import Storage
from tests.cluster.node.volumes import claim
from tests.e2e.pods import Pods

with Node(storage=Storage(Path(sys.argv[1]))) as node:
    namespace = node.control_plane.namespace()
    claim(node, namespace, "data")
    pods = Pods(node, namespace)
    pods.start("main", "sleep 1000000", mounts={"data": "/data"})
    pods.running("main")
    print(node.network.link, flush=True)
    sys.stdin.readline()
"""


class Owner:
    """A process that keeps a node until it is told to end, or is killed."""

    def __init__(self, storage: Path) -> None:
        self.mark = f"TRAININGJOB_TEST={secrets.token_hex(8)}"
        name, _, value = self.mark.partition("=")
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWNER, storage],
            cwd=ROOT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", name: value},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def name(self) -> str:
        """Of the node's folder; empty as long as there is none."""
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{MARKER}"):
            try:
                if json.loads(path.read_text(encoding="utf-8"))["pid"] == self._process.pid:
                    return path.parent.name
            except (OSError, ValueError):
                continue
        return ""

    def link(self) -> str:
        """The node's network device, as soon as a pod runs."""
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith("tj-"):
            assert line, "it ended"
        return line.strip()

    def end(self) -> None:
        self._process.communicate("\n", timeout=SECONDS)
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "storage")
    yield owner
    owner.kill()
    wait_for("the end of all processes", lambda: not processes(owner.mark), SECONDS)
    sweep()


def nothing(owner: Owner, name: str) -> Callable[[], bool]:
    return lambda: not any(traces(name, owner.mark).values())


def test_after_its_end_nothing_is_left(owner):
    before = machine()
    link = owner.link()
    name = owner.name
    found = traces(name, owner.mark)
    # All that runs there is seen here, the pod's own processes included ...
    for command in ("containerd-shim", "kubelet", "kube-proxy", "coredns", "sleep 1000000"):
        assert [line for line in found["processes"] if command in line], command
    assert found["cgroups"]
    assert set(machine()["links"]) - set(before["links"]) == {link}
    # ... and nothing of it is mounted.
    assert found["mounts"] == []
    owner.end()
    assert nothing(owner, name)(), traces(name, owner.mark)
    assert not Path(tempfile.gettempdir(), name).exists()
    assert machine() == before


def test_a_developers_node_is_one_command_and_ends_with_a_signal(tmp_path):
    before = machine()
    command = [sys.executable, "-m", "tests.cluster.node", "--gpus", "2", "--storage", tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "Ctrl-C ends it" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            exported = dict(re.findall(r"^export (\w+)=(\S+)", said, re.MULTILINE))
            exported["HOME"] = str(tmp_path)  # where kubectl keeps what it has found out
            kubectl = [BIN / "kubectl", "get", "nodes", "-o", f"jsonpath={GPUS}"]
            done = subprocess.run(kubectl, env=exported, capture_output=True, text=True, check=True)
            assert done.stdout == "2"
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    assert machine() == before


MOMENTS = ("space", "containerd", "kubelet")


@pytest.mark.parametrize("moment", MOMENTS)
def test_when_it_is_killed_at_its_start_the_next_one_removes_what_is_left(moment, owner):
    before = machine()
    log = lambda: Path(tempfile.gettempdir(), owner.name or "none", f"{moment}.log")  # noqa: E731
    wait_for(f"the start of {moment}", lambda: log().exists(), SECONDS)
    name = owner.name
    owner.kill()
    sweep()
    wait_for("the end of everything", nothing(owner, name), SECONDS)
    assert not Path(tempfile.gettempdir(), name).exists()
    wait_for("the machine to be as before", lambda: machine() == before)


def test_when_it_is_killed_the_kernel_cleans_up_and_the_next_one_works(owner, tmp_path):
    before = machine()
    owner.link()
    name = owner.name
    owner.kill()
    # Without anybody's doing: processes, mounts, devices, iptables.
    wait_for("the end of processes", lambda: not processes(name, owner.mark), SECONDS)
    wait_for("the machine to be as before", lambda: machine() == before)
    with Node(storage=Storage(tmp_path / "storage")) as node:
        # Cgroups and files are removed by the next one, which remembers images but no containers.
        assert nothing(owner, name)(), traces(name, owner.mark)
        assert not Path(tempfile.gettempdir(), name).exists()
        assert node.containerd.ctr("containers", "list", "--quiet").split() == []
        assert node.images.busybox() in node.containerd.ctr("images", "list", "--quiet").split()
        pods = Pods(node, node.control_plane.namespace())
        assert pods.run("echo hello")["exitCode"] == 0
    assert machine() == before
