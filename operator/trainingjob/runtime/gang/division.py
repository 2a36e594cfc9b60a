"""Weights that are divided over the ranks of a gang: a part on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
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


class _InPlace:
    """gloo's own reduce_scatter sums up a copy of all gradients of a unit, which it keeps until the
    next unit's."""

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        dist.all_reduce(input_tensor, op, group)
        output_tensor.copy_(input_tensor.chunk(group.size())[group.rank()])
        # FSDP2 keeps it for GPUs, which may still be at work on it.
        input_tensor.untyped_storage().resize_(0)


def divide(
    units: Sequence[nn.Module],
    network: nn.Module,
    world: int,
    count: int,
    device: torch.device,
    *,
    bf16: bool,
) -> None:
    """Divide the parameters of a network over every ``count`` ranks: those of each unit, in the
    order in which they compute, and together what is in none. Beside its share a rank needs memory
    for one unit at a time, and for what is in none."""
    # A second and 150 MB.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    shape = {"parts": count} if count == world else {"copies": world // count, "parts": count}
    mesh = init_device_mesh(device.type, (*shape.values(),), mesh_dim_names=(*shape,))
    precision = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    for unit in units:
        # The last one's backward begins where its forward ends.
        again = unit is units[-1]
        one = fully_shard(unit, mesh=mesh, mp_policy=precision, reshard_after_forward=not again)
        if isinstance(unit, nn.Embedding):
            one.set_unshard_in_backward(False)  # the gradient of a look-up needs no table
        if device.type == "cpu":
            one.set_custom_reduce_scatter(_InPlace())  # type: ignore[arg-type]
            # Instead of the unit before: gloo would gather it at once, and nothing be gained.
            one.set_modules_to_backward_prefetch([one])
    fully_shard(network, mesh=mesh, mp_policy=precision)


def divide_again(network: nn.Module) -> None:
    """FSDP2 leaves the last unit and what is in none whole, in the type that they compute in, after
    a forward without gradients."""
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
