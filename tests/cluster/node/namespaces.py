"""The namespaces of a node, as seen from outside: how to get in, and what runs in there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ..process import Component
from ..wait import wait_for
from .packages import PATH, program

# In the environment of all processes in there, so that people see whose a shim is.
MARK = "TRAININGJOB_NODE"
SPACE = Path(__file__).with_name("space.py")


class Space:
    """Runs until ``stop``; then everything that was started in it is gone, too."""

    def __init__(self, folder: Path) -> None:
        self._name = folder.name
        status = folder / "space.pid"
        command: list[str | Path] = [sys.executable, "-I", "-S", SPACE, status, folder / "var"]
        self.component = Component("space", command, folder / "space.log")
        wait_for("the namespaces of the node", lambda: self._started(status))
        self.pid = int(status.read_text(encoding="ascii"))
        self._namespace = _namespace(self.pid)

    def _started(self, status: Path) -> bool:
        self.component.check()
        return status.exists()

    def command(self, *command: str | Path) -> list[str | Path]:
        """The command, to be run in there with a clean environment."""
        enter: list[str | Path] = [
            program("nsenter"),
            f"--target={self.pid}",
            "--mount",
            "--net",
            "--pid",
            "--",
        ]
        # nsenter stays outside and waits: who kills it means the command.
        die_with_it = [program("setpriv"), "--pdeathsig", "KILL", "--"]
        clean = [program("env"), "-i", f"PATH={PATH}", "HOME=/root", f"{MARK}={self._name}"]
        return [*enter, *die_with_it, *clean, *command]

    def processes(self, name: str | None = None) -> list[int]:
        """What runs in there, but not in the containers, by its number out here."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                here = _namespace(int(path.name)) == self._namespace
                if here and name in (None, (path / "comm").read_text().strip()):
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def stop(self) -> None:
        """Kill everything, and return when it is gone."""
        if self.component.running:
            # The first process and not its parent, which buries it.
            os.kill(self.pid, signal.SIGKILL)
            wait_for("the end of the node's namespaces", lambda: not self.component.running)
        self.component.stop()
        wait_for("the end of the node's processes", lambda: not self.processes())


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())
