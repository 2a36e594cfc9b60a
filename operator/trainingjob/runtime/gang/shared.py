"""Memory that the ranks of a node have in common: what one of them reads, all of them see."""

from __future__ import annotations

import mmap
import os

import torch
from torch import Tensor

from .collectives import Gang


def shared(gang: Gang, size: int) -> Tensor:
    """``size`` bytes, uint8, in the memory of this rank's node; all ranks of the gang ask for them
    at once. They go when the last of the ranks lets go of them, however it ends.

    A memfd is bounded by the pod's memory alone, not by /dev/shm, and never comes to a disk.
    https://man7.org/linux/man-pages/man2/memfd_create.2.html
    Raises StageFailure(PeerLost), OSError."""
    place = gang.place
    if place.local_world == 1:
        return torch.empty(size, dtype=torch.uint8)
    if place.local_rank == 0:
        file = os.memfd_create("trainingjob")
        os.ftruncate(file, size)
        gang.of_node(f"/proc/{os.getpid()}/fd/{file}")
    else:
        file = os.open(gang.of_node(None), os.O_RDWR)
    with os.fdopen(file, "r+b", buffering=0):
        gang.barrier()  # all have it open
        return torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)
