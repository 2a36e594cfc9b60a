"""Which process failed first, and of what: from exit codes, reports and the end of stderr."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainingjob.api.payload import StageError
from trainingjob.api.uris import CLAIM
from trainingjob.api.v1alpha1.reasons import ReasonName, reason_of

from ..base.errors import OF_A_DEVICE, OUT_OF_MEMORY, StageFailure
from .processes import Exit, Outcome

_ADDRESS = rf"^\S+: .*(\b{CLAIM.start}|[Pp]rotocol not known: {CLAIM.name}\b)"
_OF_TORCH = r"^\S*(Runtime|Accelerator|DistBackend)Error: "
# What exceptions of user code mean, when it is not the code's own fault. The first that fits.
_MEANINGS: tuple[tuple[ReasonName, re.Pattern[str]], ...] = (
    ("RendezvousFailed", re.compile(r"^torch\.distributed\.Dist(Network|Store)Error")),
    ("OutOfMemory", re.compile(r"^\S*(OutOfMemory|Memory)Error\b")),
    ("OutOfMemory", re.compile(rf"{_OF_TORCH}.*({OUT_OF_MEMORY})")),
    ("DeviceFailed", re.compile(rf"{_OF_TORCH}.*({OF_A_DEVICE})")),
    ("DiskFull", re.compile(r"\[Errno (28|122)\]")),
    # Certain: the same code in the same image fails so again.
    ("ModuleMissing", re.compile(r"^ModuleNotFoundError: No module named ")),
    ("ScriptInvalid", re.compile(r"^(SyntaxError|IndentationError|TabError): ")),
    ("ScriptInvalid", re.compile(r"^ImportError: (cannot import name |attempted relative import)")),
    # An address of the manifest, which nothing but our own runtime can read.
    ("ScriptInvalid", re.compile(_ADDRESS)),
    # Of a notebook's export.
    ("ScriptInvalid", re.compile(r"^NameError: name 'get_ipython' is not defined")),
    # Of input(): nobody sits before a pod.
    ("ScriptInvalid", re.compile(r"^EOFError: EOF when reading a line$")),
)
_NO_PARENT = "ImportError: attempted relative import with no known parent package"
_NO_MODULE = re.compile(r"^ModuleNotFoundError: No module named '(?P<module>\w+)'$")
_PROGRAM = re.compile(r"[\w+-]+")
_NO_FILE = re.compile(r"^FileNotFoundError: \[Errno 2\] No such file or directory: '(?P<path>.+)'$")
# A consequence, not a cause: another process is gone. Told by Python itself and by torch; what
# libraries for HTTP and the like say is about somebody else.
_PEER_LOST = re.compile(
    r"connection (closed by (remote )?peer|reset by peer|was likely closed)|broken pipe"
    r"|ncclRemoteError|remote process exited|NCCL communicator was aborted"
    r"|Watchdog caught collective operation timeout",
    re.IGNORECASE,
)
_OF_A_DEVICE = re.compile(OF_A_DEVICE)
_TERMINATED = "terminate called after throwing"
_OF_LIBRARIES = re.compile(r"^(?!torch\.)\w+\.[\w.]+: ")
# How programs end that cannot begin, without a traceback: exit code, end of stderr -> reason.
# argparse and click; Python itself.
_REFUSALS: tuple[tuple[int, ReasonName, re.Pattern[str]], ...] = (
    (2, "ArgumentsInvalid", re.compile(r"^usage: .*^\S.*: error: [^\n]*\Z", re.M | re.S)),
    (2, "ArgumentsInvalid", re.compile(r"^Usage: .*^(Error: |. Error .*╯)[^\n]*\Z", re.M | re.S)),
    (2, "CommandNotFound", re.compile(r"^\S+: can't open file '[^\n]*\Z", re.M)),
    (1, "ModuleMissing", re.compile(r"^\S*python[\d.]*: No module named [^\n]*\Z", re.M)),
)
# Code that installs its modules may lack one because a registry did not answer.
_INSTALLS = re.compile(r"\b(pip3?|uv|conda|mamba|poetry)\b[\W\w]{0,40}?\b(install|sync|add)\b")
_TRACEBACK = "Traceback (most recent call last):"
# torch.distributed marks the lines of an uncaught exception, torchrun those of its ranks.
_PREFIX = re.compile(r"^\[(?:rank|\w*?)(\d+)\]: ?")
_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)')
_TORCHRUN = re.compile(
    r"Root Cause \(first observed failure\):.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL
)
# What torchrun says of a rank's end, after the rank's own words.
_ELASTIC = re.compile(
    r"^[EWI]\d{4} .*torch/distributed/elastic/multiprocessing/api\.py:\d+\]", re.M
)
# Signals that come from outside. The others (SEGV, ABRT, ...) are what code does to itself.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
# Of this container, with cgroups of version 2 and 1; both have a line `oom_kill N`.
_MEMORY_EVENTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


@dataclass(frozen=True)
class Raised:
    """An exception that ended a process, as its traceback tells."""

    rank: int | None
    what: str  # "ValueError: …"
    line: int | None  # of ``file``
    file: str = "train.py"  # of the user's code


def primary(outcome: Outcome, failures: Callable[[Exit], StageFailure | None]) -> StageFailure:
    """The failure to tell, of processes of which at least one has failed.

    The first that is not the consequence of another's, else the first. One that we had asked to
    end is blamed only when there is nobody else.
    """
    found = [(exit_.told, failure) for exit_ in outcome.exits if (failure := failures(exit_))]
    if outcome.stopped:
        return _disrupted([failure for _, failure in found])
    own = [failure for told, failure in found if not told] or [failure for _, failure in found]
    causes = [failure for failure in own if failure.reason != "PeerLost"]
    return (causes or own)[0]


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
            reason_of(told.reason) or "ScriptFailed",
            told.message,
            rank=exit_.rank,
            exit_code=exit_.code if exit_.code > 0 else None,
        )
    if exit_.code < 0:
        return _killed(f"rank {exit_.rank}", exit_.rank, -exit_.code, exit_.stderr, oom_kills)
    what = _raised(exit_.stderr, exit_.rank)
    return StageFailure(
        "InternalError",
        f"rank {exit_.rank} ended with code {exit_.code}" + (f": {what.what}" if what else ""),
        rank=exit_.rank,
        exit_code=exit_.code,
    )


def of_user_code(
    exit_: Exit,
    name: str,
    oom_kills: int,
    *,
    alone: bool = False,
    code: str = "",
    folder: Path | None = None,
    arguments: Sequence[str] = (),
) -> StageFailure:
    """Of the user's code; ``name`` is what it is called in the message.

    ``alone``: it is the only process of its gang, so that it has no peer to lose. ``code``: its
    text, as far as it is known; ``folder``: where it lies; ``arguments``: what it was started with.
    """
    rank, number = exit_.rank, exit_.code
    if root := _TORCHRUN.search(exit_.stderr):
        rank, number = int(root[1]), int(root[2])
    who = name if rank is None else f"rank {rank}"
    if number < 0:
        failure = _killed(who, rank, -number, exit_.stderr, oom_kills)
        if failure.reason == "ProcessKilled" and -number not in _FROM_OUTSIDE:
            failure.reason = "ScriptFailed"  # a crash of the user's code is the user's
        return failure
    # Python ends with 1 for what nobody catches.
    raised = _raised(exit_.stderr, rank, folder) if number == 1 else None
    reason: ReasonName | None = None
    message = f"{who} exited with code {number}"
    if raised is not None:
        reason, what, words = _read(raised.what, folder)
        message += f": {what}"
        if raised.line is not None:
            message += f" ({raised.file}, line {raised.line})"
        message += words
        missing = _NO_FILE.match(what)
        # Nobody else could make it before the next attempt.
        if alone and missing and any(missing[1] in (w, w.partition("=")[2]) for w in arguments):
            reason = "ArgumentsInvalid"
    elif lines := _said(exit_.stderr, by_torchrun=root is not None).split("\n")[-20:]:
        # argparse and sys.exit("…") end a program without a traceback.
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        message += f": {last[:500]}" if last else ""
        reason = _refusal(number, "\n".join(lines).rstrip())
    if reason == "PeerLost" and alone and not root and raised is not None and raised.rank is None:
        reason = None  # nor has it started any itself
    if reason == "ModuleMissing" and _INSTALLS.search(f"{code}\n{exit_.stderr}"):
        reason = None
    return StageFailure(reason or "ScriptFailed", message, rank=rank, exit_code=number)


def _said(stderr: str, *, by_torchrun: bool) -> str:
    """What a rank itself has said, as far as it is known."""
    if not by_torchrun:
        return stderr
    end = _ELASTIC.search(stderr)
    return stderr[: end.start()] if end else ""


def of_exception(what: str, code: str, folder: Path | None = None) -> tuple[ReasonName, str]:
    """The reason of ``ValueError: …`` in code that has no peers, whose text is ``code`` and which
    lies in ``folder``; and the words to tell it by."""
    reason, told, words = _read(what, folder)
    if told.startswith(_NO_PARENT):
        words = ": the file that is run is in no package: import it without the dot"
    if reason in (None, "PeerLost", "RendezvousFailed") or (
        reason == "ModuleMissing" and _INSTALLS.search(code)
    ):
        reason = "ScriptFailed"
    return reason, told + words


def _read(what: str, folder: Path | None) -> tuple[ReasonName | None, str, str]:
    """What an exception of code in ``folder`` means, the exception by the names that the code has
    for its files, and what helps where it is the way in which jobs run code; "" else."""
    reason = _meaning(what)
    told = what if folder is None else what.replace(f"{folder}/", "")
    if told.startswith(_NO_PARENT):
        words = (
            ": a file that is run is in no package: run it by command: [python, -m, PACKAGE.FILE]"
        )
        return reason, told, words
    if (missing := _NO_FILE.match(told)) is not None and _PROGRAM.fullmatch(missing["path"]):
        return reason, told, ": there is no such file where the code runs, nor such a program"
    if missing is not None and not missing["path"].startswith("/"):
        words = (
            ": it is looked for where the code runs, in a copy of the code alone; data lies where "
        )
        return reason, told, f"{words}docs/own-code.md says"
    if folder is not None and (missing := _NO_MODULE.match(told)) is not None:
        name = missing["module"]
        found = [*folder.rglob(f"{name}.py"), *folder.rglob(f"{name}/__init__.py")]
        paths = [path.parent if path.name == "__init__.py" else path for path in found]
        if paths:
            place = min(paths).relative_to(folder)
            words = (
                f": the code has it as {place}: have its folder ({place.parent}, as it is called "
            )
            return (
                "ScriptInvalid",
                told,
                f"{words}from workingDir) in PYTHONPATH of the stage's env",
            )
    return reason, told, ""


def lost_peer(error: BaseException) -> bool:
    """Whether a collective says that another process is gone: gloo and NCCL raise RuntimeErrors."""
    return isinstance(error, RuntimeError) and _PEER_LOST.search(str(error)) is not None


def oom_kills(files: Sequence[Path] = _MEMORY_EVENTS) -> int:
    """Processes of this container that the kernel has killed for memory; 0 where unknown."""
    for events in files:
        with suppress(OSError):
            for line in events.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def exceptions(stderr: str, folder: Path | None = None) -> Sequence[Raised]:
    """The uncaught exceptions in a text of interleaved ranks, in order of their ends;
    ``folder``: where the user's code lies."""
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
            own = [(int(f["line"]), name) for f in frames if (name := _own(f["file"], folder))]
            found.append(Raised(rank, text.strip()[:500], *(own[-1] if own else (None,))))
    return found


def _own(file: str, folder: Path | None) -> str | None:
    """What a file of the user's code is called in it; None for the file of somebody else."""
    path = Path(file)
    if folder is not None and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name if path.name == "train.py" else None


def _raised(stderr: str, rank: int | None, folder: Path | None = None) -> Raised | None:
    """The exception that ended the process, or its ``rank``, if the text says of whom it is."""
    # torchrun's own comes last and says nothing.
    found = [
        e for e in exceptions(stderr, folder) if not e.what.startswith("torch.distributed.elastic")
    ]
    if rank is None:
        causes = [e for e in found if e.rank is not None and _meaning(e.what) != "PeerLost"]
        if causes:
            return causes[0]
    else:
        found = [e for e in found if e.rank == rank] or [e for e in found if e.rank is None]
    # "During handling of …": the last of a chain is what ended the process.
    return found[-1] if found else None


def _meaning(text: str) -> ReasonName | None:
    """The reason of an exception; None when it is the code's own fault, and may pass."""
    if _PEER_LOST.search(text) and not _OF_LIBRARIES.match(text):
        return "PeerLost"
    return next((reason for reason, pattern in _MEANINGS if pattern.search(text)), None)


def _refusal(code: int, stderr: str) -> ReasonName | None:
    found = (why for number, why, words in _REFUSALS if number == code and words.search(stderr))
    return next(found, None)


def _killed(who: str, rank: int | None, number: int, stderr: str, oom: int) -> StageFailure:
    if number == signal.SIGABRT:
        # gloo's way to tell it in the middle of a clean-up, and that of NCCL's watchdog at any
        # time, which has the frames of its stack behind the words.
        begin = stderr.rfind(_TERMINATED)
        told = stderr[begin:] if begin >= 0 else stderr[-2000:]
        if _meaning(told) == "PeerLost":
            return StageFailure("PeerLost", f"{who} lost the connection to the others", rank=rank)
        if found := _OF_A_DEVICE.search(told):
            return StageFailure("DeviceFailed", f"{who} was ended by {found[0]}", rank=rank)
    reason: ReasonName = "ProcessKilled"
    message = f"{who} was killed by signal {number}"
    if number in set(signal.Signals):
        message = f"{who} was killed by {signal.Signals(number).name}"
    if number == signal.SIGKILL and oom_kills() > oom:
        reason, message = "OutOfMemory", f"the kernel killed {who} for memory"
    return StageFailure(reason, message, rank=rank, signal=number)
