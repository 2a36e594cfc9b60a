"""Where a checkout keeps what is slow to make: images, their layers, what containerd unpacked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

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
        with self._open("build.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """One containerd at a time may work in here; raises NodeError for a second one."""
        with self._open("node.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = file.read()
                raise NodeError(f"the node of process {owner} works in {self.folder}") from None
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield

    @contextmanager
    def _open(self, name: str) -> Iterator[TextIO]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.touch()
        with path.open("r+", encoding="utf-8") as file:
            yield file
