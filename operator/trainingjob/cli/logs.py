"""`trainingjob logs`: what the pods have written."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ..api.stages import STAGE_NAMES
from ..local.store import Home, Workspace
from .errors import UsageError
from .exits import Exit
from .get import find

_POLL_SECONDS = 0.2
_CHUNK = 1 << 16
# Of the logs that there are, the last ones.
_SHOWN = 5


@dataclass(frozen=True, order=True)
class Pod:
    """A pod by its name ``<job>-<stage>-<attempt>-<index>``, in the order of stages."""

    order: int
    attempt: int
    index: int

    @property
    def label(self) -> str:
        """Short name."""
        return f"{STAGE_NAMES[self.order]}-{self.attempt}-{self.index}"

    @property
    def words(self) -> str:
        """As the options of the command choose it."""
        stage = STAGE_NAMES[self.order]
        return f"--stage {stage} --attempt {self.attempt} --rank {self.index}"

    @classmethod
    def parse(cls, job: str, name: str) -> Pod | None:
        """None when it is not a pod of the job."""
        parts = name.removeprefix(f"{job}-").split("-")
        if len(parts) != 3 or parts[0] not in STAGE_NAMES:
            return None
        if not (parts[1].isdecimal() and parts[2].isdecimal()):
            return None
        return cls(STAGE_NAMES.index(parts[0]), int(parts[1]), int(parts[2]))


def logs(args: argparse.Namespace) -> int:
    """Print the logs, each line with its pod when there are several."""
    home = find(Workspace(Path(args.work_dir)), args.name, args.namespace)
    follower = Follower(home, args)
    while args.follow:
        # In this order: what was written before the job ended is printed.
        busy = home.busy
        follower.print_new()
        if not busy:
            break
        time.sleep(_POLL_SECONDS)
    else:
        follower.print_new()
    follower.finish()
    if not follower.seen:
        there = ", ".join(pod.words for pod in sorted(follower.all())[-_SHOWN:])
        raise UsageError(f"job {home.name} has no such log; it has {there or 'none yet'}")
    return Exit.SUCCEEDED


class Follower:
    """Remembers what has been printed of each log."""

    def __init__(self, home: Home, args: argparse.Namespace) -> None:
        self._home = home
        self._args = args
        self._offsets: dict[Pod, int] = {}
        self._rest: dict[Pod, bytes] = {}

    @property
    def seen(self) -> bool:
        """Whether there was any log."""
        return bool(self._offsets)

    def print_new(self) -> None:
        """Print the whole lines that have come since the last call."""
        chosen = self._chosen()
        for pod, path in sorted(chosen.items()):
            try:
                self._print(pod, path, prefix=len(chosen) > 1 or self._args.follow)
            except FileNotFoundError:
                continue  # it has just been moved; the next look finds it
        sys.stdout.flush()

    def finish(self) -> None:
        """Print lines that have no end."""
        for pod, rest in sorted(self._rest.items()):
            if rest:
                several = len(self._offsets) > 1 or self._args.follow
                self._write(pod, rest + b"\n", prefix=several)
        sys.stdout.flush()

    def all(self) -> dict[Pod, Path]:
        """The logs that there are."""
        named = {Pod.parse(self._home.name, n): path for n, path in self._home.all_logs().items()}
        return {pod: path for pod, path in named.items() if pod is not None}

    def _chosen(self) -> dict[Pod, Path]:
        args = self._args
        found = {
            pod: path
            for pod, path in self.all().items()
            if args.stage in (None, STAGE_NAMES[pod.order])
            and args.index in (None, pod.index)
            and args.attempt in (None, pod.attempt)
        }
        last = {pod.order: pod.attempt for pod in sorted(found)}
        return {
            pod: path
            for pod, path in found.items()
            # Whoever follows sees every attempt to its end.
            if args.attempt or pod in self._offsets or pod.attempt == last[pod.order]
        }

    def _print(self, pod: Pod, path: Path, *, prefix: bool) -> None:
        with path.open("rb") as file:
            file.seek(self._offsets.setdefault(pod, 0))
            while chunk := file.read(_CHUNK):
                self._offsets[pod] += len(chunk)
                whole, newline, rest = (self._rest.get(pod, b"") + chunk).rpartition(b"\n")
                self._rest[pod] = rest
                self._write(pod, whole + newline, prefix=prefix)

    def _write(self, pod: Pod, lines: bytes, *, prefix: bool) -> None:
        if prefix:
            mark = f"[{pod.label}] ".encode()
            lines = b"".join(mark + line for line in lines.splitlines(keepends=True))
        sys.stdout.buffer.write(lines)
