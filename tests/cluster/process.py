"""One component of the control plane as a process with a log."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
TAIL_LINES = 15


class ComponentError(RuntimeError):
    """A component did not start or has died; the message has the end of its log."""


class Component:
    """A command under a guard: it dies with this Python process, however that ends."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.restart(command)

    def restart(self, command: Sequence[str | Path]) -> None:
        """Start it again after ``stop``; its log goes on."""
        assert not self.running, f"{self.name} runs"
        guard: list[str | Path] = [sys.executable, "-I", "-S", GUARD, str(os.getpid())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, not for it
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """Raise if it has died."""
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ComponentError(f"{self.name} ended with code {code}\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(f"  {self.name}: {line}" for line in lines)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Kill it, and return when it is gone. Nothing of it is worth a graceful end."""
        if self._process is None:
            return
        self._process.terminate()  # the guard, which ends after it
        self._process.wait()
        self._process = None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, all different.

    Below the range from which the kernel takes ports for outgoing connections: nobody gets one of
    these by accident, also not while its owner is stopped for a test.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ComponentError("no free port on the loopback")
