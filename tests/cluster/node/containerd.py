"""containerd: its folders, and what a killed run has left in its memory of containers."""

from __future__ import annotations

import re
from pathlib import Path

from ..process import Component
from ..wait import wait_for
from . import config
from .command import run
from .errors import NodeError
from .namespaces import Space
from .network import Network
from .packages import program
from .registry import Registry

NAMESPACE = "k8s.io"
# The last thing that its CRI plug-in says before it answers; kubelet ends when it comes too early.
READY = "Start streaming server"
IMAGE = re.compile(re.escape(config.REGISTRY) + r"/([^@:]+):([^@:]+)")


class Containerd:
    """Images in ``root`` outlive it, containers do not."""

    def __init__(self, space: Space, root: Path, folder: Path) -> None:
        self._space = space
        self._root = root
        self._folder = folder

    @property
    def command(self) -> list[str | Path]:
        return self._command("containerd.toml")

    def prepare(self, network: Network, registry: Registry, pause: str) -> None:
        """Write its configuration; let it forget earlier containers, and images of before."""
        for name, text in {
            "cni/10-pods.conflist": config.cni(network),
            f"registries/{config.REGISTRY}/hosts.toml": config.registry_hosts(registry.address),
            "containerd.toml": config.containerd(self._root, self._folder, pause),
            "containerd-only.toml": config.containerd(self._root, self._folder, pause, cri=False),
        }.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if (self._root / "io.containerd.metadata.v1.bolt/meta.db").exists():
            self._forget(registry)

    def ctr(self, *arguments: str) -> str:
        return run(
            self._space.command(
                program("ctr"), "--address", config.SOCKET, "--namespace", NAMESPACE, *arguments
            )
        )

    def _outdated(self, registry: Registry) -> list[str]:
        """Names, digests and ids of images that the registry has no more."""
        rows = [line.split()[:3] for line in self.ctr("images", "list").splitlines()[1:]]
        kept = {
            digest
            for image, _, digest in rows
            if (found := IMAGE.fullmatch(image)) and registry.has(found[1], found[2])
        }
        return [image for image, _, digest in rows if digest not in kept]

    def _answers(self, component: Component) -> bool:
        component.check()
        try:
            self.ctr("version")
        except NodeError:
            return False
        return True

    def _command(self, name: str) -> list[str | Path]:
        return self._space.command(program("containerd"), "--config", self._folder / name)

    def _forget(self, registry: Registry) -> None:
        """Runs end by SIGKILL. The CRI plug-in would wake up with their containers: without it."""
        command = self._command("containerd-only.toml")
        component = Component("containerd", command, self._folder / "containerd-only.log")
        try:
            wait_for("containerd", lambda: self._answers(component))
            if names := self.ctr("containers", "list", "--quiet").split():
                self.ctr("containers", "delete", *names)
            if images := self._outdated(registry):
                self.ctr("images", "delete", "--sync", *images)
        finally:
            component.stop()
        wait_for("containerd's end", lambda: not self._space.processes("containerd"))
