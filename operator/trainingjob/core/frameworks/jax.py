"""JAX: ``jax.distributed.initialize()`` with a coordinator in the pod of rank 0.

https://docs.jax.dev/en/latest/_autosummary/jax.distributed.initialize.html has the address; the two
numbers are passed by the code, under the names that other operators use.
"""

from __future__ import annotations

from collections.abc import Callable

from .gang import Gang

ADDRESS = "JAX_COORDINATOR_ADDRESS"
PORT = 29501
_OURS = f"$(MASTER_ADDR):{PORT}"


def variables(gang: Gang, index: int) -> dict[str, str]:
    """One process a pod, which has all of the pod's devices."""
    if not gang.plain:
        return {}
    return {
        ADDRESS: _OURS,
        "JAX_NUM_PROCESSES": str(gang.nodes),
        "JAX_PROCESS_ID": str(index),
    }


def here(value: str, port: Callable[[int], int]) -> str:
    """A free port; what the user has set stays."""
    return f"127.0.0.1:{port(PORT)}" if value == _OURS else value
