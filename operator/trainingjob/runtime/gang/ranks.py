"""The ranks of a stage that is ours: started on their node, and what came of them told to the
launcher, which imports no torch, so that the ranks start at once and the memory is theirs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from trainingjob.api.payload import StageResult

from ..base.errors import StageFailure, from_os_error, is_of_a_device, is_out_of_memory
from ..base.text import one_line
from . import blame, reports
from .node import Node
from .processes import Command, Exit, Outcome, run_together

# glibc keeps what was freed for the thread that had it, and pieces of up to 32 MiB: with gloo's
# threads as much as two ranks need themselves (tests/perf/language.py). So: one heap for all
# threads, large pieces go back at once, and large pages, by which they come back faster.
# https://man7.org/linux/man-pages/man3/mallopt.3.html
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
# 128 + SIGTERM, as a shell tells it.
STOPPED = 143


def run(
    node: Node, command: Sequence[str], folder: Path, settings: Mapping[str, str] = MALLOC
) -> StageResult | None:
    """Run this node's ranks, each by a ``command`` that ends by ``told``. Node 0 returns the result
    of rank 0, the others None. ``folder``: an empty one, for what they tell. ``settings``:
    variables for them, unless the pod has others.

    Raises StageFailure with the failure that came first, of this node's ranks."""
    oom_kills = blame.oom_kills()

    def failure(exit_: Exit) -> StageFailure | None:
        assert exit_.rank is not None
        told = reports.read(folder, exit_.rank)
        # Done is done: a rank that dies while it leaves has failed nobody.
        if exit_.code == 0 or (told is not None and told.error is None):
            return None
        return blame.of_built_in(exit_, told.error if told else None, oom_kills)

    seeing = node.seeing({**settings, **node.env, reports.REPORTS_DIR: str(folder)})
    outcome = run_commands(seeing.per_rank(command), failure)
    if any(failure(exit_) for exit_ in outcome.exits):
        raise blame.primary(outcome, failure)
    if node.index > 0:
        return None
    told = reports.read(folder, 0)
    if told is None or told.result is None:
        raise StageFailure("InternalError", "rank 0 ended without a result")
    return told.result


def run_commands(
    commands: Sequence[Command], failure: Callable[[Exit], StageFailure | None]
) -> Outcome:
    """Run all to their end; ``failure`` of a process that has ended, if it failed.

    Raises StageFailure(CommandNotFound)."""

    def secondary(exit_: Exit) -> bool:
        found = failure(exit_)
        return found is not None and found.reason == "PeerLost"

    try:
        return run_together(commands, lambda exit_: failure(exit_) is not None, secondary)
    except (FileNotFoundError, PermissionError) as error:
        raise StageFailure(
            "CommandNotFound", f"cannot run {commands[0].arguments[0]}: {error.strerror}"
        ) from error


def told(work: Callable[[], StageResult | None], verb: str) -> int:
    """Of a rank: do the work and tell what came of it; the exit code."""
    folder, rank = Path(os.environ[reports.REPORTS_DIR]), int(os.environ["RANK"])
    try:
        result = work()
    except BaseException as error:
        failure = as_failure(error, verb)
        if failure.reason == "InternalError":
            traceback.print_exc()
        sys.stderr.write(f"rank {rank}: {failure.reason}: {failure.message}\n")
        reports.tell_failure(folder, rank, failure)
        return STOPPED if failure.reason == "Disrupted" else 1
    reports.tell_done(folder, rank, result)
    return 0


def end(code: int) -> NoReturn:
    """All is written. Taking torch down takes time, and gloo's threads sometimes abort in it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def as_failure(error: BaseException, verb: str) -> StageFailure:
    """Whatever was raised, as a failure of the stage."""
    if isinstance(error, StageFailure):
        return error
    if is_out_of_memory(error):
        words = f"there is not enough memory to {verb}: {one_line(error)}"
        return StageFailure("OutOfMemory", words)
    if isinstance(error, OSError):
        return from_os_error(error, verb)
    # Of sharded weights, torch itself talks to the other ranks.
    if blame.lost_peer(error):
        return StageFailure("PeerLost", f"lost the connection to the others: {one_line(error)}")
    if is_of_a_device(error):
        return StageFailure("DeviceFailed", f"cannot {verb}: {one_line(error)}")
    return StageFailure("InternalError", f"{type(error).__name__}: {one_line(error)}")
