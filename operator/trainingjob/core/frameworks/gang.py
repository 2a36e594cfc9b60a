"""The pods of a stage that work together, as a framework wants to know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gang:
    """So many ``nodes``, a pod each, of so many ``processes``; ``first`` is the address of the pod
    of rank 0, and ``pods`` has those of all, where each has one."""

    nodes: int
    processes: int
    first: str = "127.0.0.1"
    pods: Sequence[str] = ()
    accelerators: frozenset[str] = frozenset()

    @property
    def plain(self) -> bool:
        """Whether each pod is one process, and knows its peers by name."""
        return self.processes == 1 and bool(self.pods)
