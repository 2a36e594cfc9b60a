"""Which process failed first, and of what: from exit codes, reports and the end of stderr."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainingjob.api.payload import StageError

from ..errors import StageFailure
from .processes import Exit, Outcome

# What torch says when another process is gone: a consequence, not a cause.
_PEER_LOST = re.compile(
    r"connection (closed by peer|reset by peer|was likely closed)|broken pipe"
    r"|ncclRemoteError|NCCL.*(remote process exited|watchdog)|DistNetworkError|DistStoreError",
    re.IGNORECASE,
)
_TRACEBACK = "Traceback (most recent call last):"
# torch.distributed marks the lines of an uncaught exception, torchrun those of its ranks.
_PREFIX = re.compile(r"^\[(?:rank|\w*?)(\d+)\]: ?")
_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)')
_TORCHRUN = re.compile(
    r"Root Cause \(first observed failure\):.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL
)
# Signals that come from outside. The others (SEGV, ABRT, ...) are what code does to itself.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


@dataclass(frozen=True)
class Raised:
    """An exception that ended a process, as its traceback tells."""

    rank: int | None
    what: str  # "ValueError: …"
    line: int | None  # of train.py


def primary(outcome: Outcome, failures: Callable[[Exit], StageFailure | None]) -> StageFailure:
    """The failure to tell, of processes of which at least one has failed.

    The first that is not the consequence of another's, else the first. One that we had asked to
    end is blamed only when there is nobody else.
    """
    exits = sorted(outcome.exits, key=lambda exit_: exit_.told)
    found = [failure for exit_ in exits if (failure := failures(exit_)) is not None]
    if outcome.stopped:
        return _disrupted(found)
    causes = [failure for failure in found if failure.reason != "PeerLost"]
    return (causes or found)[0]


def _disrupted(found: Sequence[StageFailure]) -> StageFailure:
    """We were asked to stop. What went wrong on the way counts only when it has a cause of its
    own: ranks that are not ready for the signal die of it, and the others miss them."""
    for failure in found:
        if failure.reason == "Disrupted":
            return failure
    for failure in found:
        if failure.reason not in ("PeerLost", "ProcessKilled", "RendezvousFailed"):
            return failure
    return StageFailure("Disrupted", "stopped by SIGTERM")


def of_built_in(exit_: Exit, told: StageError | None, oom_kills: int) -> StageFailure:
    """Of a rank of ours, which tells its failure unless something kills it."""
    if told is not None:
        return StageFailure(
            told.reason,
            told.message,
            rank=exit_.rank,
            exit_code=exit_.code if exit_.code > 0 else None,
        )
    if exit_.code < 0:
        return _killed(exit_, f"rank {exit_.rank}", -exit_.code, exit_.rank, oom_kills)
    what = _last(exit_.stderr)
    return StageFailure(
        "InternalError",
        f"rank {exit_.rank} ended with code {exit_.code}" + (f": {what.what}" if what else ""),
        rank=exit_.rank,
        exit_code=exit_.code,
    )


def of_user_code(exit_: Exit, name: str, oom_kills: int) -> StageFailure:
    """Of the user's code; ``name`` is what it is called in the message."""
    rank, code = exit_.rank, exit_.code
    if root := _TORCHRUN.search(exit_.stderr):
        rank, code = int(root[1]), int(root[2])
    who = name if rank is None else f"rank {rank}"
    raised = _last(exit_.stderr)
    if raised is not None and _PEER_LOST.search(raised.what):
        return StageFailure("PeerLost", f"{who}: {raised.what}", rank=rank)
    if code < 0:
        if -code == signal.SIGABRT and _PEER_LOST.search(exit_.stderr[-2000:]):
            return StageFailure("PeerLost", f"{who} lost the connection to the others", rank=rank)
        return _killed(exit_, who, -code, rank, oom_kills)
    message = f"{who} exited with code {code}"
    if raised is not None:
        message += f": {raised.what}"
        if raised.line is not None:
            message += f" (train.py, line {raised.line})"
    return StageFailure("ScriptFailed", message, rank=rank, exit_code=code)


def oom_kills(events: Path = _MEMORY_EVENTS) -> int:
    """Processes of this container that the kernel has killed for memory; 0 where unknown."""
    try:
        lines = events.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def exceptions(stderr: str) -> Sequence[Raised]:
    """The uncaught exceptions in a text of interleaved ranks, in order of their ends."""
    by_rank: dict[int | None, list[str]] = {}
    found: list[Raised] = []
    for raw in stderr.splitlines():
        prefix = _PREFIX.match(raw)
        rank = int(prefix[1]) if prefix else None
        text = raw[prefix.end() :] if prefix else raw
        if text.startswith(_TRACEBACK):
            by_rank[rank] = []
        elif rank in by_rank and (text.startswith((" ", "\t")) or not text.strip()):
            by_rank[rank].append(text)
        elif rank in by_rank:
            frames = [frame for line in by_rank.pop(rank) if (frame := _FRAME.match(line))]
            own = [f for f in frames if f["file"].rpartition("/")[2] == "train.py"]
            found.append(Raised(rank, text.strip()[:500], int(own[-1]["line"]) if own else None))
    return found


def _last(stderr: str) -> Raised | None:
    """The exception that ended it. Of several ranks' the first that is a cause; torchrun's own
    comes last and says nothing."""
    found = [e for e in exceptions(stderr) if not e.what.startswith("torch.distributed.elastic")]
    if any(e.rank is not None for e in found):
        causes = [e for e in found if not _PEER_LOST.search(e.what)]
        return (causes or found)[0]
    # "During handling of …": the last of a chain is what ended the process.
    return found[-1] if found else None


def _killed(exit_: Exit, who: str, number: int, rank: int | None, oom: int) -> StageFailure:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGKILL and oom_kills() > oom:
        return StageFailure(
            "OutOfMemory", f"the kernel killed {who} for memory", rank=rank, signal=number
        )
    # A crash of the user's code is the user's; only what comes from outside is infrastructure.
    reason = "ProcessKilled" if number in _FROM_OUTSIDE else "ScriptFailed"
    return StageFailure(reason, f"{who} was killed by {name}", rank=rank, signal=number)
