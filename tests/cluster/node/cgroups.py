"""The cgroups of a node: one folder in each hierarchy, below which kubelet keeps its own."""

from __future__ import annotations

import time
from pathlib import Path

from .errors import NodeError

TOP = Path("/sys/fs/cgroup")
SECONDS = 30


def make(name: str) -> None:
    """kubelet wants its root to exist."""
    parents = hierarchies()
    if not parents:
        raise NodeError(f"no cgroups below {TOP}: a node cannot account for its pods")
    for parent in parents:
        (parent / name).mkdir(exist_ok=True)
        if (parent / "cpuset.cpus").exists():
            _inherit_cpus(parent, parent / name)


def remove(name: str) -> None:
    """Remove them; their processes have been killed and may still be on their way out."""
    deadline = time.monotonic() + SECONDS
    while left := [path for parent in hierarchies() if (path := parent / name).is_dir()]:
        busy = [path for path in left if not _remove_tree(path)]
        if busy and time.monotonic() > deadline:
            raise NodeError(f"waited {SECONDS} s for the end of what runs in {busy[0]}")
        if busy:
            time.sleep(0.02)


def names(prefix: str) -> set[str]:
    return {path.name for parent in hierarchies() for path in parent.glob(f"{prefix}*")}


def hierarchies() -> list[Path]:
    """One folder for each controller (version 1), or the one that is all (version 2)."""
    if (TOP / "cgroup.controllers").exists():
        return [TOP]
    # cpu and cpuacct may be two names of one.
    folders = {path.resolve() for path in TOP.glob("*/") if (path / "cgroup.procs").exists()}
    return sorted(folders)


def _remove_tree(path: Path) -> bool:
    done = True
    try:
        for child in path.iterdir():
            if child.is_dir():
                done = _remove_tree(child) and done
        path.rmdir()
    except FileNotFoundError:
        return done
    except OSError:
        return False
    return done


def _inherit_cpus(parent: Path, child: Path) -> None:
    """In version 1 a new cpuset is empty, and nothing could run in it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        text = (parent / name).read_text(encoding="ascii")
        if text.strip():
            (child / name).write_text(text, encoding="ascii")
