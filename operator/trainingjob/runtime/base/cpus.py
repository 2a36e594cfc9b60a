"""How many CPUs a process may use: of the machine, and of what its container is limited to."""

from __future__ import annotations

import math
import os
from pathlib import Path

# cgroups of version 2: "QUOTA PERIOD", in which QUOTA may be "max".
_V2 = Path("/sys/fs/cgroup/cpu.max")
# Version 1: a file each; a quota of -1 is none.
_V1 = tuple(Path("/sys/fs/cgroup/cpu") / f"cpu.cfs_{name}_us" for name in ("quota", "period"))


def available() -> int:
    """At least one; a limit of 2.5 CPUs counts as 3, as Java and DuckDB have it."""
    linux = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    quota, period = _limit()
    return count if quota <= 0 or period <= 0 else max(1, min(count, math.ceil(quota / period)))


def _limit() -> tuple[int, int]:
    """Quota and period; (0, 0) without a limit, or where none can be read."""
    for files in ((_V2,), _V1):
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            return int(quota), int(period)
        except (OSError, ValueError):
            continue
    return 0, 0
