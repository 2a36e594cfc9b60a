"""Faults of a rank at a point of its checkpoints.

A fault is ``[rank, point, step, what]``: of the checkpoint of this step, before this rank's part of
it is written (``part``), when half of it is (``torn``) or all (``written``); of rank 0 also before
its state is written (``state``) and after it (``published``), and, whatever the step, when one of
the parts of an old checkpoint is removed (``removing``). ``what``: ``kill``, ``stop`` (SIGTERM), or
``wait``, for a moment. Each that happens leaves a file ``hit-RANK-POINT`` in the folder, and each
start a line with the step from which it goes on in ``resumed``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import safetensors.torch

from trainingjob.runtime.train import checkpoints
from trainingjob.runtime.train.checkpoints import Checkpoints

_WAIT_SECONDS = 0.5


def disturb(folder: Path, rank: int, faults: list[tuple[int, str, int, str]]) -> None:
    """Have them happen in this process, which is ``rank``."""
    mine = {(point, step): what for its, point, step, what in faults if its == rank}
    write_part, write_state = Checkpoints._write_part, Checkpoints._write_state
    load, remove = Checkpoints.load, checkpoints.remove

    def reach(point: str, place: Path) -> None:
        what = mine.get((point, int(place.name.removeprefix("step-"))))
        if what is None:
            return
        (folder / f"hit-{rank}-{point}").touch()
        if what == "wait":
            time.sleep(_WAIT_SECONDS)
        else:
            os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGTERM)

    def torn_part(self: Checkpoints, path: Path, held: dict[str, Any]) -> str:
        reach("part", path.parent)
        if ("torn", int(path.parent.name.removeprefix("step-"))) in mine:
            data = safetensors.torch.save({name: one.contiguous() for name, one in held.items()})
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[: len(data) // 2])
            reach("torn", path.parent)
        digest = write_part(self, path, held)
        reach("written", path.parent)
        return digest

    def late_state(self: Checkpoints, place: Path, *args: Any) -> None:
        reach("state", place)
        write_state(self, place, *args)
        reach("published", place)

    def half_removed(path: Path) -> None:
        if ("removing", int(path.name.removeprefix("step-"))) in mine:
            next(path.glob("part-*")).unlink()
            reach("removing", path)
        remove(path)

    def told_load(self: Checkpoints, *args: Any) -> Any:
        found = load(self, *args)
        if rank == 0:
            with (folder / "resumed").open("a") as file:
                file.write(f"{0 if found is None else found['step']}\n")
        return found

    Checkpoints._write_part = torn_part  # type: ignore[method-assign]
    Checkpoints._write_state = late_state  # type: ignore[method-assign]
    Checkpoints.load = told_load  # type: ignore[method-assign]
    checkpoints.remove = half_removed  # type: ignore[attr-defined]
