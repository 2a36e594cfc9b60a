"""A control plane with a node on which pods really run; gone when the tests are."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ..build import build
from ..context import MARKER, alive, mark
from ..controlplane import ControlPlane
from ..process import Component, ComponentError
from ..wait import wait_for
from . import cgroups, config, packages
from .certificate import certificate
from .command import run
from .containerd import READY, Containerd
from .images import Images
from .namespaces import Space
from .network import connect, disconnect
from .registry import Registry
from .storage import Storage
from .tools import TOOLS

PREFIX = "trainingjob-node-"
RELAY = Path(__file__).with_name("relay.py")
REGISTRY_PORT = 5000
# Ready takes some seconds on a quiet machine.
DEADLINE_SECONDS = 120.0


class Node:
    """Scheduler, kubelet, containerd, kube-proxy, DNS and a registry; a context manager.

    ``name``: of the node. ``gpus``: how many ``nvidia.com/gpu`` it says it has. ``storage``: where
    images stay between runs; one node at a time works in it. ``crd``, ``audit``: of ControlPlane.
    """

    def __init__(
        self,
        *,
        name: str = "node-0",
        gpus: int = 8,
        storage: Storage | None = None,
        crd: bool = True,
        audit: bool = False,
    ) -> None:
        self.name = name
        self.folder = Path()
        self._gpus = gpus
        self._storage = storage or Storage()
        self._crd = crd
        self._audit = audit
        self._stack = ExitStack()
        self._control_plane: ControlPlane | None = None
        self._components: dict[str, Component] = {}
        self._commands: dict[str, Sequence[str | Path]] = {}

    # --- start and end -------------------------------------------------------------------------
    def __enter__(self) -> Self:
        packages.install()
        build(TOOLS)
        sweep()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill everything and take everything back."""
        self._stack.close()
        self._control_plane = None
        self._components.clear()
        self._commands.clear()

    def _start(self) -> None:
        defer = self._stack.callback
        self._stack.enter_context(self._storage.running())
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        defer(shutil.rmtree, self.folder, ignore_errors=True)
        mark(self.folder, "")
        cgroup = self.folder.name
        defer(cgroups.remove, cgroup)
        cgroups.make(cgroup)
        self._space = Space(self.folder)
        defer(self._space.stop)
        self._components["space"] = self._space.component
        self.network = connect(self._space.pid)
        defer(disconnect, self.network)

        with ThreadPoolExecutor(1) as pool:
            control_plane = pool.submit(self._start_control_plane)
            self._start_containerd()
        self._control_plane = control_plane.result()
        self._start_kubernetes(cgroup)
        # First of all: then those that entered it bury what they have started in there.
        defer(self._space.stop)
        self._await("the node to be ready", self._ready)
        self.claim_gpus()

    def _start_control_plane(self) -> ControlPlane:
        pair = certificate(self.folder, "apiserver")
        control_plane = ControlPlane(
            users=config.users(self.name),
            controllers=config.CONTROLLERS,
            flags=config.apiserver(self.network, *pair),
            crd=self._crd,
            audit=self._audit,
        )
        return self._stack.enter_context(control_plane)

    def _start_containerd(self) -> None:
        registry = Registry(self._storage.registry, self.folder, self.network.host, REGISTRY_PORT)
        self._stack.callback(registry.stop)
        self.registry = registry.address
        self._components["registry"] = registry.component
        self.images = Images(self._storage, registry)
        self.containerd = Containerd(self._space, self._storage.containerd, self.folder)
        self.containerd.prepare(self.network, registry, self.images.busybox())
        self._component("containerd", self.containerd.command)
        self._await("containerd", lambda: READY in self.log("containerd"))

    def _start_kubernetes(self, cgroup: str) -> None:
        port = self.control_plane.server.rpartition(":")[2]
        relay: list[str | Path] = [sys.executable, "-I", "-S", RELAY, self.network.host, port]
        self._component("relay", relay)
        server = f"https://{self.network.host}:{port}"
        for component, user in {
            "kubelet": f"system:node:{self.name}",
            "kube-proxy": "system:kube-proxy",
            "coredns": "system:coredns",
        }.items():
            text = config.kubeconfig(self.control_plane.kubeconfig(user), server)
            self._write(f"{component}.kubeconfig", text)
        self._write("kubelet.json", config.kubelet(self.network, self.folder, cgroup))
        self._write("kube-proxy.json", config.kube_proxy(self.network, self.folder, self.name))
        self._write("Corefile", config.corefile(self.network, self.folder))
        config.allow_coredns(self.control_plane)
        inside = self._space.command
        for name, command in {
            "kubelet": inside(*config.kubelet_command(self.network, self.folder, self.name)),
            "kube-proxy": inside(*config.kube_proxy_command(self.folder)),
            "coredns": inside(*config.coredns_command(self.folder)),
            "kube-scheduler": config.scheduler_command(
                self.control_plane.kubeconfig("system:kube-scheduler")
            ),
        }.items():
            self._component(name, command)

    def _component(self, name: str, command: Sequence[str | Path]) -> None:
        self._commands[name] = command
        self._components[name] = Component(name, command, self.folder / f"{name}.log")
        # Each ends with the namespaces, or on its own.
        self._stack.callback(self._components[name].stop)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    # --- its state -----------------------------------------------------------------------------
    @property
    def control_plane(self) -> ControlPlane:
        assert self._control_plane is not None, "the node runs"
        return self._control_plane

    def check(self) -> None:
        """Raise, with the end of its log, if a component has died."""
        if self._control_plane is not None:
            self._control_plane.check()
        for component in self._components.values():
            component.check()

    def log(self, component: str) -> str:
        return self._components[component].log()

    def run(self, *command: str | Path) -> str:
        """Run a command in the node's namespaces; its output."""
        return run(self._space.command(*command))

    def restart(self, *names: str) -> None:
        """Kill components and start them again; returns when the node is ready again."""
        before = _condition(self._get(), "lastHeartbeatTime")
        for name in names:
            self._components[name].stop()
        for name in sorted(names):  # containerd before kubelet
            self._restart(name)
        self._await(
            "the node to be ready again",
            lambda: (
                _condition(self._get(), "lastHeartbeatTime") != before
                and self._ready()
                and self._knows_pods()
            ),
        )
        self.claim_gpus()

    def _restart(self, name: str) -> None:
        wait_for(f"{name}'s end", lambda: not self._space.processes(name))
        said = len(self.log(name))
        self._components[name].restart(self._commands[name])
        if name == "containerd":
            wait_for("containerd", lambda: READY in self.log(name)[said:])

    def claim_gpus(self) -> None:
        """What a device plugin would do; kubelet forgets it at a restart."""
        wanted = {config.GPU: str(self._gpus)}
        path = f"/api/v1/nodes/{self.name}/status"
        code, answer = self.control_plane.request("PATCH", path, {"status": {"capacity": wanted}})
        assert code == 200, answer
        self._await(
            "the GPUs", lambda: wanted.items() <= self._get()["status"]["allocatable"].items()
        )

    def _get(self) -> dict[str, Any]:
        """The node as the API server knows it; empty when it does not."""
        code, node = self.control_plane.request("GET", f"/api/v1/nodes/{self.name}")
        return node if code == 200 else {}

    def _ready(self) -> bool:
        node = self._get()
        return _condition(node, "status") == "True" and not node["spec"].get("taints")

    def _knows_pods(self) -> bool:
        """kubelet calls itself ready before it has heard which pods are its own."""
        mine = f"/api/v1/pods?fieldSelector=spec.nodeName={self.name}"
        known = f"/api/v1/nodes/{self.name}/proxy/pods"
        code, pods = self.control_plane.request("GET", known)
        return code == 200 and _uids(self.control_plane.request("GET", mine)[1]) <= _uids(pods)

    def _await(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                tails = "\n".join(component.tail() for component in self._components.values())
                raise ComponentError(f"waited {DEADLINE_SECONDS:.0f} s for {what}\n{tails}")
            time.sleep(0.05)


def sweep() -> None:
    """Remove what was left behind by processes that were killed: cgroups and folders."""
    temporary = Path(tempfile.gettempdir())
    for name in cgroups.names(PREFIX):
        if not _alive(temporary / name):
            cgroups.remove(name)
    for folder in temporary.glob(f"{PREFIX}*"):
        if (folder / MARKER).exists() and not _alive(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(folder: Path) -> bool:
    try:
        return alive(folder)
    except FileNotFoundError:
        return False  # only its cgroups are left
    except (KeyError, OSError, ValueError):
        return True  # another user's, or just being made


def _condition(node: dict[str, Any], field: str) -> str:
    """A field of the condition Ready; empty when there is none."""
    conditions = node.get("status", {}).get("conditions", [])
    return next((c[field] for c in conditions if c["type"] == "Ready"), "")


def _uids(pods: dict[str, Any]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods.get("items") or []}
