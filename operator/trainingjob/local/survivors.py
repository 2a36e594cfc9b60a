"""Processes of a pod that have outlived its shim, found by the marker in their environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from .environment import MARKER
from .errors import LocalError

SHIM = str(Path(__file__).with_name("shim.py"))

_POLL_SECONDS = 0.01
# A shim whose runner has died clears up by itself; it is given so long.
_PATIENCE_SECONDS = 2.0
# A process that does not die of SIGKILL hangs in the kernel, on a dead disk or driver.
_LIMIT_SECONDS = 10.0


def end(uids: Collection[str]) -> None:
    """See to it that no process of these pods is left.

    Raises LocalError when one cannot be killed.
    """
    began = time.monotonic()
    while uids and (found := find(uids)):
        waited = time.monotonic() - began
        if waited > _LIMIT_SECONDS:
            pids = ", ".join(map(str, found))
            raise LocalError(f"processes of an earlier attempt cannot be killed: {pids}")
        if waited > _PATIENCE_SECONDS or not any(_is_shim(pid) for pid in found):
            for pid in found:
                _kill(pid, uids)
        time.sleep(_POLL_SECONDS)


def find(uids: Collection[str]) -> list[int]:
    """Ids of living processes that carry the marker of one of the pods."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return [pid for pid in pids if _belongs(pid, uids)]


def _belongs(pid: int, uids: Collection[str]) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False
    # Zombies have no environment: they are not found, and need not be.
    prefix = f"{MARKER}=".encode()
    return any(
        entry.startswith(prefix) and entry[len(prefix) :].decode(errors="replace") in uids
        for entry in environment.split(b"\0")
    )


def _is_shim(pid: int) -> bool:
    try:
        return os.fsencode(SHIM) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _kill(pid: int, uids: Collection[str]) -> None:
    """Kill a process of the pods. The pidfd is opened before the marker is read again, so that
    an id that has passed to somebody else is never hit."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _belongs(pid, uids):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(descriptor)
