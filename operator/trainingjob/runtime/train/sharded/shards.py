"""A tensor that is divided over the ranks by its rows, as FSDP2 divides it, and its parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...model.transformer import layers_of, local


@dataclass(frozen=True)
class Rows:
    """Rows ``first`` to ``last`` of a tensor's; a rank may have none."""

    first: int
    last: int

    @classmethod
    def of(cls, rows: int, rank: int, world: int) -> Rows:
        """A rank's share: as torch.chunk has it, the last ones smaller or empty."""
        size = -(-rows // world)
        first = min(rows, rank * size)
        return cls(first, min(rows, first + size))


def shard(model: nn.Module, world: int, device: torch.device, *, bf16: bool) -> None:
    """Divide every layer's parameters, and the rest, over the ranks: memory for a layer at a time
    is what a rank needs beside its share. A gang of one stays as it is."""
    if world == 1:
        return
    # A second and 150 MB.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (world,))
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    fully_shard(model, mesh=mesh, mp_policy=precision)


def part_of(tensor: Tensor, whole: Tensor, rank: int, world: int) -> Tensor:
    """This rank's part of the whole of a tensor."""
    if local(tensor) is tensor:
        return whole
    rows = Rows.of(whole.shape[0], rank, world)
    return whole[rows.first : rows.last]
