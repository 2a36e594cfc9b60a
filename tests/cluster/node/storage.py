"""Where a checkout keeps what is slow to make: images, their layers, what containerd unpacked."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..build import ROOT
from .errors import NodeError

CACHE = ROOT / ".cache/node"


@dataclass(frozen=True)
class Storage:
    folder: Path = CACHE

    @property
    def containerd(self) -> Path:
        return self.folder / "containerd"

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @property
    def buildah(self) -> Path:
        return self.folder / "buildah"

    @contextmanager
    def building(self) -> Iterator[None]:
        """Whoever comes second waits: one heavy build at a time."""
        with self._open("build.lock") as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """One containerd at a time may work in here; raises NodeError for a second one."""
        with self._open("node.lock") as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NodeError(f"another node works in {self.folder}: end it first") from None
            yield

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("w") as file:
            yield file.fileno()
