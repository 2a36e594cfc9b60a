"""Processes that own code leaves behind: none of them goes on once its stage does."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..base.errors import StageFailure

_PR_SET_CHILD_SUBREAPER = 36
# For a process that the kernel does not let go at once.
_SECONDS = 10.0


@contextmanager
def ended() -> Iterator[None]:
    """Whatever is started within, and by what is started, has ended when this does.

    Raises StageFailure(ScriptFailed) when it makes new ones faster than they can be ended."""
    before = {*_children()}
    # So that what loses its parent becomes ours.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        until = time.monotonic() + _SECONDS
        while (found := {*_children()} - before) and time.monotonic() < until:
            for child in found:
                with suppress(OSError):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if {*_children()} - before:
            raise StageFailure(
                "ScriptFailed", "the code has started processes that do not end, whatever is done"
            )


def _children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name of a process, in parentheses, may hold anything.
            parent = path.read_text(errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(path.parent.name))
    return found
