"""Commands that either work or say in a few lines why not."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import NodeError
from .packages import PATH

SECONDS = 60
TAIL_LINES = 15


def run(command: Sequence[str | Path], *, input: str = "", seconds: float = SECONDS) -> str:
    """Its output; raises NodeError with what it said. It sees nothing of our environment."""
    done = subprocess.run(
        command,
        input=input,
        env={"PATH": PATH, "HOME": "/root"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-TAIL_LINES:]
        words = " ".join(map(str, command))
        raise NodeError("\n".join([f"{words}: exit code {done.returncode}", *told]))
    return done.stdout
