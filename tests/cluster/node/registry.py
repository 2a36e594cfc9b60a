"""An image registry: buildah pushes to it, containerd pulls from it, over plain HTTP."""

from __future__ import annotations

import http.client
import shutil
from pathlib import Path

from ..build import BIN
from ..process import Component
from ..wait import wait_for
from . import config
from .command import run
from .packages import PATH, program

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Registry:
    """Runs until ``stop``; the images in ``storage`` stay. Several may share one storage."""

    def __init__(self, storage: Path, folder: Path, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
        self._storage = storage
        self._config = path = folder / "registry.json"
        path.write_text(config.registry(storage, self.address), encoding="utf-8")
        # Not our environment: variables named REGISTRY_* would change its configuration.
        clean = [program("env"), "-i", f"PATH={PATH}", "OTEL_TRACES_EXPORTER=none"]
        command: list[str | Path] = [*clean, BIN / "registry", "serve", path]
        self.component = Component("registry", command, folder / "registry.log")
        wait_for("the registry", self._ready)

    def stop(self) -> None:
        self.component.stop()

    def has(self, name: str, tag: str) -> bool:
        return self._status(f"/v2/{name}/manifests/{tag}") == 200

    def keep_only(self, name: str, tag: str) -> None:
        """Remove its other tags, and layers that no image has. Nobody may push meanwhile."""
        repository = self._storage / "docker/registry/v2/repositories" / name
        for path in (repository / "_manifests/tags").iterdir():
            if path.name != tag:
                shutil.rmtree(path)
        run([BIN / "registry", "garbage-collect", "--delete-untagged", self._config], seconds=600)

    def _ready(self) -> bool:
        self.component.check()
        try:
            return self._status("/v2/") == 200
        except OSError:
            return False

    def _status(self, path: str) -> int:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("HEAD", path, headers={"Accept": ", ".join(MANIFESTS)})
            return connection.getresponse().status
        finally:
            connection.close()
