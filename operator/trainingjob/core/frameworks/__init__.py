"""How the processes of a gang find each other: a file for each framework, and one table.

A framework has ``variables(gang, index)``, which the pod ``index`` is given. Where all pods are
processes of one machine, some of these are otherwise: ``port(n)`` is what stands there for the port
``n`` of the gang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from . import jax, tensorflow, torch, tpu
from .gang import Gang

# Those of own code; our training is torch's.
_FRAMEWORKS: Sequence[ModuleType] = (torch, tensorflow, jax, tpu)
# What is otherwise on one machine, from its value and the ports.
_HERE: Mapping[str, Callable[[str, Callable[[int], int]], str]] = {
    "MASTER_ADDR": lambda value, port: "127.0.0.1",
    "MASTER_PORT": lambda value, port: str(port(torch.PORT)),
    tensorflow.VARIABLE: tensorflow.here,
    jax.ADDRESS: jax.here,
}


def variables(gang: Gang, index: int) -> dict[str, str]:
    """Of all frameworks, for own code."""
    found: dict[str, str] = {}
    for framework in _FRAMEWORKS:
        found |= framework.variables(gang, index)
    return found


def here(asked: Mapping[str, str], port: Callable[[int], int]) -> dict[str, str]:
    """Those of the ``asked`` variables that are otherwise on one machine."""
    return {name: here(asked[name], port) for name, here in _HERE.items() if name in asked}


__all__ = ["Gang", "here", "variables"]
