"""The state of training on disk: ``checkpoints/step-000000050/{state.json,state.safetensors}``.

Written by rank 0 alone, aside and renamed, in a thread, so that training goes on meanwhile.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from trainingjob.api.v1alpha1.train import Checkpoint

from ..base.digest import digest_of, sha256
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..storage import remove, write_aside
from .ownership import claim

STATE = "state.json"
TENSORS = "state.safetensors"
VERSION = 1
_NAME = re.compile(r"step-(\d{9,})")
_EVERY_SECONDS = 30
# What reading a damaged checkpoint raises. Other OSErrors are the storage's: it may recover.
_DAMAGE = (
    FileNotFoundError,
    NotADirectoryError,
    ValueError,
    TypeError,
    KeyError,
    safetensors.SafetensorError,
)


@dataclass(frozen=True)
class Saved:
    """A checkpoint. ``position`` is a JSON object; ``tensors`` are on the CPU."""

    position: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run.

    ``fingerprint`` is what must not change between saving and resuming. Methods that write raise
    StageFailure(DiskFull) and the like, those of the thread at the next call.
    """

    def __init__(
        self, folder: Path, spec: Checkpoint | None, uid: str, fingerprint: dict[str, Any]
    ) -> None:
        spec = spec or Checkpoint()
        self._folder, self._uid, self._fingerprint = folder, uid, fingerprint
        self._keep, self._every_steps = spec.keep, spec.every_steps
        self._every_seconds: float | None = spec.every_seconds
        if spec.every_steps is None and spec.every_seconds is None:
            self._every_seconds = _EVERY_SECONDS
        self._last = time.monotonic()
        # Of the newest checkpoint that is complete.
        self.complete_step: int | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def due(self, step: int) -> bool:
        """Whether to save after this step."""
        if self._every_steps is not None and step % self._every_steps == 0:
            return True
        return (
            self._every_seconds is not None and time.monotonic() - self._last >= self._every_seconds
        )

    def save(self, step: int, saved: Saved) -> Path:
        """Write in the background; ``saved`` must not be changed any more. Returns the folder."""
        self.wait()
        target = self._folder / f"step-{step:09}"
        self._writing = self._pool.submit(self._write, target, saved)
        self._last = time.monotonic()
        return target

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def resume(self) -> Saved | None:
        """The newest complete checkpoint of this run; None when there is none.

        What cannot be used is removed: leftovers, damaged ones, those of an older job of the
        same name. Raises StageFailure(CheckpointMismatch) when this run was changed meanwhile.
        """
        with storage_errors("read the checkpoints"):
            claim(self._folder, self._uid)
            for leftover in self._folder.glob(".step-*"):
                remove(leftover)
            for folder in self._newest_first():
                try:
                    state, tensors = _read(folder)
                except _DAMAGE as error:
                    log(f"checkpoint {folder.name} is damaged, trying the one before: {error}")
                    remove(folder)
                    continue
                if state["uid"] != self._uid:
                    log(f"checkpoint {folder.name} is of another job of this name: removed")
                    remove(folder)
                    continue
                self._compare(folder, state["fingerprint"])
                log(f"resuming from checkpoint {folder.name}")
                self.complete_step = _step(folder)
                return Saved(state["position"], tensors)
        return None

    def _compare(self, folder: Path, fingerprint: dict[str, Any]) -> None:
        names = sorted({*fingerprint, *self._fingerprint})
        for name in names:
            was, now = fingerprint.get(name), self._fingerprint.get(name)
            if was != now:
                raise StageFailure(
                    "CheckpointMismatch",
                    f"checkpoint {folder.name} was written with {name} {_short(was)}, "
                    f"now it is {_short(now)}",
                )

    def _write(self, target: Path, saved: Saved) -> None:
        with storage_errors("write a checkpoint"):
            with write_aside(target) as folder:
                # Bytes first: safetensors' own save_file wraps a full disk into its own error.
                (folder / TENSORS).write_bytes(safetensors.torch.save(saved.tensors))
                state: dict[str, Any] = {
                    "version": VERSION,
                    "uid": self._uid,
                    "fingerprint": self._fingerprint,
                    "position": saved.position,
                    "files": {TENSORS: sha256(folder / TENSORS)},
                }
                state["digest"] = digest_of(state)
                (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
            self.complete_step = _step(target)
            for old in list(self._newest_first())[self._keep :]:
                remove(old)

    def _newest_first(self) -> Iterator[Path]:
        found = []
        for path in self._folder.glob("step-*"):
            if match := _NAME.fullmatch(path.name):
                found.append((int(match[1]), path))
        for _, path in sorted(found, reverse=True):
            yield path


def _step(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    assert match is not None
    return int(match[1])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Raises one of _DAMAGE when it is damaged."""
    state = json.loads((folder / STATE).read_bytes())
    if state.pop("digest") != digest_of(state):
        raise ValueError(f"{STATE} is not as it was written")
    if state["version"] != VERSION:
        raise ValueError(f"version {state['version']} is not {VERSION}")
    for name, digest in state["files"].items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{name} is not as it was written")
    return state, safetensors.torch.load((folder / TENSORS).read_bytes())


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "…"
