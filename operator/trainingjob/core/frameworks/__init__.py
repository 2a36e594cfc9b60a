"""How the processes of a gang find each other: a file for each framework, and one table.

A framework has ``variables(gang, index)``, which the pod ``index`` is given, and
``here(name, value, port)``: what one of them is where all pods are processes of one machine, whose
``port(n)`` stands for the port ``n`` of the gang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from . import jax, tensorflow, torch, tpu
from .gang import Gang

# Those of own code; our training is torch's.
FRAMEWORKS: Sequence[ModuleType] = (torch, tensorflow, jax, tpu)
# What is answered otherwise on one machine, by whom.
_HERE: Mapping[str, ModuleType] = {
    "MASTER_ADDR": torch,
    "MASTER_PORT": torch,
    tensorflow.VARIABLE: tensorflow,
    jax.ADDRESS: jax,
}


def variables(gang: Gang, index: int) -> dict[str, str]:
    """Of all frameworks, for own code."""
    found: dict[str, str] = {}
    for framework in FRAMEWORKS:
        found |= framework.variables(gang, index)
    return found


def here(asked: Mapping[str, str], port: Callable[[int], int]) -> dict[str, str]:
    """Those of the ``asked`` variables that are otherwise on one machine."""
    return {
        name: str(framework.here(name, asked[name], port))
        for name, framework in _HERE.items()
        if name in asked
    }


__all__ = ["FRAMEWORKS", "Gang", "here", "variables"]
