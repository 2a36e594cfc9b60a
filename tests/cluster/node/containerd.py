"""containerd: its folders, and what a killed run has left in its memory of containers."""

from __future__ import annotations

from pathlib import Path

from ..process import Component
from ..wait import wait_for
from . import config
from .command import run
from .errors import NodeError
from .namespaces import Space
from .network import Network
from .packages import program

NAMESPACE = "k8s.io"


class Containerd:
    """Images in ``root`` outlive it, containers do not."""

    def __init__(self, space: Space, root: Path, folder: Path) -> None:
        self._space = space
        self._root = root
        self._folder = folder
        self.component: Component | None = None

    def start(self, network: Network, registry: str, pause: str) -> Component:
        """Returns the component when it answers."""
        self._forget_containers(pause)
        for name, text in {
            "cni/10-pods.conflist": config.cni(network),
            f"registries/{config.REGISTRY}/hosts.toml": config.registry_hosts(registry),
            "containerd.toml": config.containerd(self._root, self._folder, pause),
        }.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self._start("containerd.toml")

    def ctr(self, *arguments: str) -> str:
        return run(
            self._space.command(
                program("ctr"), "--address", config.SOCKET, "--namespace", NAMESPACE, *arguments
            )
        )

    def _start(self, name: str) -> Component:
        command = self._space.command(program("containerd"), "--config", self._folder / name)
        component = Component("containerd", command, self._folder / "containerd.log")
        wait_for("containerd", lambda: self._answers(component))
        return component

    def _answers(self, component: Component) -> bool:
        component.check()
        try:
            self.ctr("version")
        except NodeError:
            return False
        return True

    def _forget_containers(self, pause: str) -> None:
        """Runs end by SIGKILL. The CRI plug-in would wake up with their containers: without it."""
        if not (self._root / "io.containerd.metadata.v1.bolt/meta.db").exists():
            return
        path = self._folder / "containerd-only.toml"
        path.write_text(config.containerd(self._root, self._folder, pause, cri=False))
        component = self._start(path.name)
        if names := self.ctr("containers", "list", "--quiet").split():
            self.ctr("containers", "delete", *names)
        component.stop()
        wait_for("containerd's end", lambda: not self._space.processes("containerd"))
