"""torch.distributed: ``init_process_group()`` without arguments, and torchrun's own variables.

https://docs.pytorch.org/docs/stable/elastic/run.html
"""

from __future__ import annotations

from ..names import GANG_SIZE
from .gang import Gang

# torch.distributed's own default.
PORT = 29500


def variables(gang: Gang, index: int) -> dict[str, str]:
    """What torch.distributed reads."""
    found = {
        "MASTER_ADDR": gang.first,
        "MASTER_PORT": str(PORT),
        "WORLD_SIZE": str(gang.nodes * gang.processes),
        "NODE_RANK": str(index),
    }
    if gang.processes == 1:
        found |= {"RANK": str(index), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    return found


def launcher(gang: Gang, index: int) -> dict[str, str]:
    """What torchrun reads, so that it needs no arguments."""
    return {
        GANG_SIZE: str(gang.nodes),
        "PET_NPROC_PER_NODE": str(gang.processes),
        "PET_NODE_RANK": str(index),
        "PET_MASTER_ADDR": "$(MASTER_ADDR)",
        "PET_MASTER_PORT": "$(MASTER_PORT)",
    }
