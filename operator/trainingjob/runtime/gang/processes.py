"""The node's processes: started, watched, and ended together.

One thread and no polling: a selector over the processes' stderr and this process's signals.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

# Enough for a traceback of the code and torchrun's own after it.
TAIL_BYTES = 16384
# A rank that lost its peers often ends before the one that caused it is seen to have.
SETTLE_SECONDS = 3.0
# From SIGTERM to SIGKILL for the ranks that outlive a failed one: they have nothing to save.
KILL_SECONDS = 3.0

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Command:
    """What to start. ``rank`` is None when the command starts the ranks itself."""

    arguments: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    rank: int | None = None


@dataclass
class Exit:
    """How a process ended: ``code`` as in subprocess, negative for a signal."""

    rank: int | None
    code: int
    stderr: str  # its end
    told: bool  # we had asked it to end


@dataclass
class Outcome:
    """``exits`` in the order in which they were seen; ``stopped``: by a SIGTERM to us, before
    any process had failed."""

    exits: list[Exit] = field(default_factory=list)
    stopped: bool = False


def run_together(
    commands: Sequence[Command],
    failed: Callable[[Exit], bool],
    secondary: Callable[[Exit], bool],
) -> Outcome:
    """Run all to their end; SIGTERM is passed on to them.

    When one has ``failed`` the others are ended: at once, or after a moment in which the cause
    can still be seen when that failure is ``secondary``. Raises what subprocess.Popen raises.
    """
    outcome = Outcome()
    with _signals() as wake, _started(commands, wake) as processes:
        ended_by: float | None = None  # when the others are to be asked to end
        while any(process.alive for process in processes):
            for number in _wait(wake, processes, ended_by):
                if number == signal.SIGTERM:
                    outcome.stopped |= ended_by is None
                    for process in processes:
                        process.signal(signal.SIGTERM)
            for process in processes:
                exit_ = process.collect()
                if exit_ is None:
                    continue
                outcome.exits.append(exit_)
                if failed(exit_) and not outcome.stopped:
                    now = time.monotonic()
                    at = now + SETTLE_SECONDS if secondary(exit_) else now
                    ended_by = at if ended_by is None else min(ended_by, at)
            if ended_by is not None and time.monotonic() >= ended_by:
                for process in processes:
                    process.end(ended_by)
    return outcome


class _Process:
    """A running command. Its stdout is ours; its stderr is passed on, its end remembered."""

    def __init__(self, command: Command) -> None:
        self._rank = command.rank
        self._popen = subprocess.Popen(
            command.arguments,
            env=command.env,
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # We have one thread, so that this is safe.
            preexec_fn=_die_with_parent(os.getpid()),
        )
        assert self._popen.stderr is not None
        self.stderr: IO[bytes] = self._popen.stderr
        os.set_blocking(self.stderr.fileno(), False)
        self._tail = b""
        self._told = False
        self.alive = True

    def read(self) -> bool:
        """Pass on what has come; False at the end."""
        while not self.stderr.closed:
            try:
                data = os.read(self.stderr.fileno(), 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            with contextlib.suppress(OSError):  # nobody reads our log
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()
        return False

    def collect(self) -> Exit | None:
        """How it ended, told once."""
        if not self.alive or self._popen.poll() is None:
            return None
        self.alive = False
        # Not to the end of the file: children that it left behind may keep it open.
        self.read()
        text = self._tail.decode(errors="replace")
        return Exit(self._rank, self._popen.returncode, text, self._told)

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.alive:
            self._popen.send_signal(number)

    def end(self, asked: float) -> None:
        """SIGTERM once, SIGKILL when it is still there KILL_SECONDS after ``asked``."""
        if time.monotonic() >= asked + KILL_SECONDS:
            self.signal(signal.SIGKILL)
        elif not self._told:
            self.signal(signal.SIGTERM)
        self._told = True

    def kill(self) -> None:
        """At once, when we cannot go on ourselves."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self.stderr.close()


def _wait(
    wake: socket.socket, processes: Sequence[_Process], ended_by: float | None
) -> Iterator[int]:
    """Wait for something to happen and pass on stderr; yields the signals that came."""
    timeout = None
    if ended_by is not None:
        now = time.monotonic()
        timeout = ended_by - now if now < ended_by else max(0.05, ended_by + KILL_SECONDS - now)
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        for process in processes:
            if not process.stderr.closed:
                selector.register(process.stderr, selectors.EVENT_READ, process)
        for key, _ in selector.select(timeout):
            if key.data is None:
                yield from wake.recv(4096)
            elif not key.data.read():
                key.data.stderr.close()


@contextlib.contextmanager
def _started(commands: Sequence[Command], wake: socket.socket) -> Iterator[list[_Process]]:
    processes: list[_Process] = []
    try:
        for command in commands:
            processes.append(_Process(command))
        yield processes
    finally:
        for process in processes:
            process.kill()


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket on which a byte arrives for each SIGTERM and SIGCHLD."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        old = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGTERM, signal.SIGCHLD)
        }
        old_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """For the child, before exec: be killed when the parent dies, whatever it dies of."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has died already
            os._exit(1)

    return before_exec
