"""How the main thread sleeps until something happens: a signal, a word from another thread, or
the time is up. No polling."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType
from typing import Any

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Wakeup:
    """Owns the signal handlers of the process while in its ``with`` block (main thread only)."""

    def __init__(self) -> None:
        self.interrupts = 0
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Any] = {}
        self._fd_before = -1

    def __enter__(self) -> Wakeup:
        self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._child_ended)
        for number in _STOP:
            # nohup, and shells that start something in the background, ask us not to listen.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        os.close(self._read)
        os.close(self._write)

    def notify(self) -> None:
        """Wake the main thread, from any thread."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            pass  # the pipe is full: it is being woken
        except OSError:
            pass  # closed: nobody waits any more

    def wait(self, seconds: float | None) -> None:
        """Sleep until woken, at most so long; returns at once if woken since the last call."""
        select.select([self._read], [], [], seconds)
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            pass

    def _child_ended(self, number: int, frame: FrameType | None) -> None:
        pass  # Python writes to the wakeup descriptor only for signals that have a handler

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1
