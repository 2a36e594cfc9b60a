"""Weights that are divided over the ranks of a gang: a part on each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rows:
    """Rows ``first`` to ``last`` of a tensor's; there may be none."""

    first: int
    last: int

    @classmethod
    def of(cls, rows: int, index: int, count: int) -> Rows:
        """A share: as torch.chunk has it, the last ones smaller or empty."""
        size = -(-rows // count)
        first = min(rows, index * size)
        return cls(first, min(rows, first + size))


@dataclass(frozen=True)
class Part:
    """What a rank has of all weights: part ``index`` of ``count``. ``writes``: of the ranks that
    have the same, this one writes it down."""

    index: int = 0
    count: int = 1
    writes: bool = True

    def of(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """This rank's part of the whole of a parameter."""
        if self.count == 1:
            return whole
        rows = Rows.of(whole.shape[0], self.index, self.count)
        return whole[rows.first : rows.last]


def divide(
    modules: Iterable[nn.Module], world: int, count: int, device: torch.device, *, bf16: bool
) -> None:
    """Divide the parameters of each, the outermost last, over every ``count`` ranks: memory for one
    at a time is what a rank needs beside its share."""
    # A second and 150 MB.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    shape = {"parts": count} if count == world else {"copies": world // count, "parts": count}
    mesh = init_device_mesh(device.type, (*shape.values(),), mesh_dim_names=(*shape,))
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    for module in modules:
        fully_shard(module, mesh=mesh, mp_policy=precision)
