"""Lines for the pod's log."""

from __future__ import annotations

import sys


def log(line: str) -> None:
    """Write a line to stdout at once, whole also beside other processes' lines."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
