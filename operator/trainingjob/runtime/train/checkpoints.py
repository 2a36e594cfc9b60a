"""The state of training on disk: each rank writes its own part, in a thread.

checkpoints/step-000000050/{part-00000-of-00002.safetensors, part-00001-of-00002.safetensors,
state.json}

A part has a rank's rows of each tensor, of which any number of ranks reads its own; where every
rank has all of them, rank 0 writes the only one. state.json has the digests of the parts; it is
written last, by rank 0, when all are written: a folder without it is no checkpoint.
torch.distributed.checkpoint does the same with plans that the ranks exchange as pickles.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainingjob.api.v1alpha1.train import Checkpoint

from ..base.digest import digest_of, sha256
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.text import one_line
from ..base.within import content
from ..gang.collectives import Gang
from ..gang.division import Part, Rows
from ..storage import remove, store, write_file
from ..storage.disk import sync_file
from ..storage.ownership import claim

STATE = "state.json"
VERSION = 3  # 1 had one file of all tensors, 2 other names of them
_NAME = re.compile(r"step-(\d{9,})")
_EVERY_SECONDS = 30
_DIGEST = "sha256:"
_STATE_BYTES = 2**26
# What reading a damaged checkpoint raises. Other OSErrors are the storage's: it may recover.
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_DAMAGE = (*_NO_FILE, ValueError, TypeError, KeyError, RecursionError)

# By name: this rank's part, and the shape of the whole.
Tensors = Mapping[str, tuple[Tensor, list[int]]]


class Checkpoints:
    """The checkpoints of one run, on every rank; all call the same methods at the same step.

    ``fingerprint`` is what must not change between saving and resuming; ``part``: what this rank
    has of all tensors. Methods that write raise StageFailure(DiskFull) and the like, those of the
    thread at the next call."""

    def __init__(
        self,
        folder: Path,
        spec: Checkpoint | None,
        uid: str,
        fingerprint: dict[str, Any],
        gang: Gang,
        device: torch.device,
        part: Part,
    ) -> None:
        spec = spec or Checkpoint()
        self._folder, self._uid, self._fingerprint = folder, uid, fingerprint
        self._gang, self._device, self._part = gang, device, part
        self._keep, self._every_steps = spec.keep, spec.every_steps
        self._every_seconds: float | None = spec.every_seconds
        if spec.every_steps is None and spec.every_seconds is None:
            self._every_seconds = _EVERY_SECONDS
        self._last = time.monotonic()
        # Of the newest checkpoint that is complete.
        self.complete_step: int | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # What is being written: step, position, shapes of tensors, and the digest of this rank's.
        self._pending: tuple[int, dict[str, Any], dict[str, list[int]]] | None = None
        self._writing: Future[str] | None = None
        self._mine: list[Path] = []

    def due(self, step: int) -> bool:
        """Whether to save after this step."""
        if self._every_steps is not None and step % self._every_steps == 0:
            return True
        return (
            self._every_seconds is not None and time.monotonic() - self._last >= self._every_seconds
        )

    def begin(self, step: int, position: dict[str, Any], tensors: Tensors) -> None:
        """Copy this rank's part and write it in the background; what was begun is published
        before."""
        self.finish()
        self._pending = step, position, {name: shape for name, (_, shape) in tensors.items()}
        if self._part.writes:
            held = {name: one.to("cpu", copy=True) for name, (one, _) in tensors.items()}
            path = self._place(step) / part_name(self._part.index, self._part.count)
            self._writing = self._pool.submit(self._write_part, path, held)
        self._last = time.monotonic()

    @property
    def written(self) -> bool:
        """Whether there is a part of this rank that waits to be published."""
        return self._writing is not None and self._writing.done()

    def finish(self) -> None:
        """Publish what was begun, when every rank has written; nothing without such.

        Raises StageFailure."""
        if self._pending is None:
            return
        digests = torch.zeros(self._part.count, 32, dtype=torch.int32, device=self._device)
        if self._writing is not None:
            own = self._writing.result().removeprefix(_DIGEST)
            digests[self._part.index] = torch.tensor(list(bytes.fromhex(own)), dtype=torch.int32)
        self._gang.all_reduce(digests)  # every rank has written
        (step, position, shapes), self._pending, self._writing = self._pending, None, None
        if self._gang.rank == 0:
            parts = [_DIGEST + bytes(row).hex() for row in digests.tolist()]
            with storage_errors("write a checkpoint"):
                self._write_state(self._place(step), position, shapes, parts)
                self.complete_step = step
                for old in list(self._newest_first())[self._keep :]:
                    remove(old)
        # Where the folder is shared, rank 0 has removed it a checkpoint ago.
        while len(self._mine) > self._keep + 1:
            self._mine.pop(0).unlink(missing_ok=True)

    def load(self, tensors: Tensors) -> dict[str, Any] | None:
        """Fill the tensors from the newest complete checkpoint; its position, or None without one.

        What cannot be used is removed. Raises StageFailure(CheckpointMismatch) when this run was
        changed meanwhile."""
        with storage_errors("read the checkpoints"):
            candidates = self._candidates() if self._gang.rank == 0 else iter(())
            while True:
                told = self._gang.broadcast_json(next(candidates, None))
                if told is None:
                    return None
                name, state = told
                folder = self._folder / name
                self._compare(folder, state["fingerprint"])
                damage = self._damage(folder, state["parts"])
                if damage:
                    log(f"checkpoint {name} cannot be used: {damage}")
                bad = torch.tensor([float(damage != "")], device=self._device)
                self._gang.all_reduce(bad)
                if not bad.item():
                    self._fill(folder, state, tensors)
                    if self._gang.rank == 0:
                        log(f"resuming from checkpoint {name}")
                        self.complete_step = int(name.removeprefix("step-"))
                    return state["position"]
                if self._gang.rank == 0:
                    log("trying the one before")
                    remove(folder)

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

    def _place(self, step: int) -> Path:
        return self._folder / f"step-{step:09}"

    def _write_part(self, path: Path, held: dict[str, Tensor]) -> str:
        with storage_errors("write a checkpoint"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Bytes first: safetensors' own save_file wraps a full disk into its own error.
            whole = {name: tensor.contiguous() for name, tensor in held.items()}
            path.write_bytes(safetensors.torch.save(whole))
            sync_file(path)
            digest = sha256(path)
            store(path)
            if self._gang.rank > 0:
                self._mine.append(path)
        return digest

    def _write_state(
        self,
        folder: Path,
        position: dict[str, Any],
        shapes: dict[str, list[int]],
        parts: list[str],
    ) -> None:
        state: dict[str, Any] = {
            "version": VERSION,
            "uid": self._uid,
            "fingerprint": self._fingerprint,
            "position": position,
            "shapes": shapes,
            "parts": parts,
        }
        state["digest"] = digest_of(state)
        write_file(folder / STATE, json.dumps(state))

    def _candidates(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The names and states of the folders that may be whole, the newest first."""
        claim(self._folder, self._uid)
        for folder in list(self._newest_first()):
            try:
                state = json.loads(content(folder / STATE, _STATE_BYTES))
                if state.pop("digest") != digest_of(state):
                    raise ValueError(f"{STATE} is not as it was written")
                if state["version"] != VERSION:
                    raise ValueError("it was written by another version of the operator")
                if state["uid"] != self._uid:
                    raise ValueError("it is another job's of this name")
            except _DAMAGE as error:
                # As a gang leaves it that dies in the middle of one.
                why = f"it has no {STATE}" if isinstance(error, _NO_FILE) else one_line(error)
                log(f"checkpoint {folder.name} cannot be used, trying the one before: {why}")
                remove(folder)
                continue
            yield folder.name, state

    def _damage(self, folder: Path, parts: list[str]) -> str:
        """What is wrong with this rank's share of the files; "" when nothing is."""
        for number in range(self._gang.rank, len(parts), self._gang.world):
            path = folder / part_name(number, len(parts))
            if not path.is_file():
                return f"{path.name} is missing"
            if sha256(path) != parts[number]:
                return f"{path.name} is not as it was written"
        return ""

    def _fill(self, folder: Path, state: dict[str, Any], tensors: Tensors) -> None:
        index, count, parts = self._part.index, self._part.count, len(state["parts"])
        for number in range(parts):
            path = folder / part_name(number, parts)
            with safetensors.safe_open(path, framework="pt") as source:
                for name, (target, shape) in tensors.items():
                    if not shape:
                        target.copy_(source.get_tensor(name))
                        continue
                    its = Rows.of(shape[0], number, parts)
                    mine = Rows.of(shape[0], index, count)
                    first, last = max(mine.first, its.first), min(mine.last, its.last)
                    if first < last:
                        part = source.get_slice(name)[first - its.first : last - its.first]
                        target[first - mine.first : last - mine.first].copy_(part)

    def _newest_first(self) -> Iterator[Path]:
        found = []
        for path in self._folder.glob("step-*"):
            if match := _NAME.fullmatch(path.name):
                found.append((int(match[1]), path))
        for _, path in sorted(found, reverse=True):
            yield path


def part_name(number: int, parts: int) -> str:
    """The file of a rank's part."""
    return f"part-{number:05}-of-{parts:05}.safetensors"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "…"
