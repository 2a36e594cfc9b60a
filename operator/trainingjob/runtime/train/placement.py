"""How the weights of a network lie on the ranks of a gang: whole on each, or divided."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainingjob.api.payload import TrainPayload

from ..base.errors import StageFailure
from ..gang.collectives import Gang
from ..gang.division import Part, divide, divide_again
from ..model.transformer import local
from .families import Family

# What ranks tell each other in a step: see Trainer.
TOLD = 5
# torch's own, for GPUs and CPUs.
COMPILER = "inductor"


class Network:
    """A network on this rank.

    ``weights``: what an optimizer changes here; lists of tensors like them are all else that it
    keeps. Gradients of a divided network are divided, too, and are means over the ranks:
    ``scale``, by which losses are multiplied, makes sums of them."""

    def __init__(self, module: nn.Module, gang: Gang, part: Part, *, bf16: bool) -> None:
        self.module, self.part, self._gang = module, part, gang
        self._parameters = {
            name: one for name, one in module.named_parameters() if one.requires_grad
        }
        self.shapes = {name: list(one.shape) for name, one in self._parameters.items()}
        self.scale = float(gang.world) if part.count > 1 else 1.0
        self._copies = gang.world // part.count
        # FSDP2 has a policy of its own for it.
        autocast = bf16 and part.count == 1
        device = next(module.parameters()).device.type
        self.computing: Callable[[], contextlib.AbstractContextManager[Any]] = (
            partial(torch.autocast, device, torch.bfloat16) if autocast else contextlib.nullcontext
        )

    # Asked for anew each time: FSDP2 may move them at the first step.
    @property
    def weights(self) -> list[Tensor]:
        """This rank's."""
        with torch.no_grad():
            return [local(one) for one in self._parameters.values()]

    @property
    def gradients(self) -> list[Tensor]:
        """Of these weights."""
        with torch.no_grad():
            return [
                torch.zeros_like(local(one)) if one.grad is None else local(one.grad)
                for one in self._parameters.values()
            ]

    def clear(self) -> None:
        """Before a step."""
        for one in self._parameters.values():
            one.grad = None

    def share(self, told: Tensor | None) -> None:
        """After the last gradient of a step: they and what is ``told``, float64 [TOLD], become sums
        over the ranks; the last number told becomes the squared norm of all gradients."""
        if told is not None:
            norms = torch.stack(torch._foreach_norm(self.gradients))
            told[-1] = norms.square().sum() / self._copies
            self._gang.all_reduce(told)

    def named(self, tensors: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Tensors like the weights, by the names of the network's parameters."""
        return zip(self._parameters, tensors, strict=True)

    def divide_again(self) -> None:
        """After a forward without gradients."""
        if self.part.count > 1:
            divide_again(self.module)

    def same(self) -> None:
        """Begin with the weights of rank 0: machines may draw different ones."""


class Replicas(Network):
    """Each rank has all weights. They and their gradients are a vector each, of which
    the parameters are views: one all_reduce shares all that there is to share."""

    def __init__(self, module: nn.Module, gang: Gang, part: Part, *, bf16: bool) -> None:
        super().__init__(module, gang, part, bf16=bf16)
        parameters = list(self._parameters.values())
        self._sizes = [one.numel() for one in parameters]
        size, device = sum(self._sizes), parameters[0].device
        self._weights = torch.empty(size, device=device)
        self._shared = torch.zeros(size + TOLD, device=device)
        self._gradients, self._tail = self._shared[:size], self._shared[size:]
        for one, weight, gradient in zip(
            parameters,
            self._weights.split(self._sizes),
            self._gradients.split(self._sizes),
            strict=True,
        ):
            weight.copy_(one.data.flatten())
            one.data, one.grad = weight.view_as(one), gradient.view_as(one)

    @property
    def weights(self) -> list[Tensor]:
        return [self._weights]

    @property
    def gradients(self) -> list[Tensor]:
        return [self._gradients]

    def clear(self) -> None:
        self._shared.zero_()

    def share(self, told: Tensor | None) -> None:
        if told is not None:
            self._tail.copy_(told)
        self._gang.all_reduce(self._shared)
        if told is not None:
            told.copy_(self._tail)
            told[-1] = self._gradients.norm().square()

    def named(self, tensors: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        (flat,) = tensors
        for (name, shape), part in zip(self.shapes.items(), flat.split(self._sizes), strict=True):
            yield name, part.view(shape)

    def same(self) -> None:
        self._gang.broadcast(self._weights)


def place(
    payload: TrainPayload, family: Family, gang: Gang, device: torch.device, *, bf16: bool
) -> Network:
    """The family's network with its first weights.

    Raises StageFailure(SettingUnsuitable) when it cannot be compiled here."""
    module = family.build()
    part = part_of(payload.sharding, family, gang)
    for layer in family.layers(module):
        if payload.activation_checkpointing:
            again = partial(checkpoint, layer.forward, use_reentrant=False)
            layer.forward = again  # type: ignore[method-assign]
        if payload.compile:
            _must_compile(device)
            layer.compile(backend=COMPILER)
    if part.count > 1:
        divide(family.units(module), module, gang.world, part.count, device, bf16=bf16)
    family.fill(module, device, part.of)
    # Of a small network one vector is faster than many; of a large one it is memory.
    flat = part.count == 1 and (gang.world > 1 or family.tokens is None)
    kind = Replicas if flat else Network
    return kind(module, gang, part, bf16=bf16)


def part_of(sharding: str | None, family: Family, gang: Gang) -> Part:
    """What the rank has of the weights, as ``train.sharding`` says."""
    sharding = sharding or "auto"
    if sharding == "hybrid":
        here = gang.place.local_world
        return Part(gang.place.local_rank, here, writes=gang.rank < here)
    if sharding == "full" or (sharding == "auto" and family.tokens is not None):
        return Part(gang.rank, gang.world)
    return Part(writes=gang.rank == 0)


def _must_compile(device: torch.device) -> None:
    # Of GPUs, Triton has kernels started by a little program in C.
    variable, name, others = ("CC", "C", ["gcc", "clang", "cc"])
    if device.type == "cpu":
        variable, name, others = ("CXX", "C++", ["g++", "clang++"])
    names = filter(None, (os.environ.get(variable), *others))
    if COMPILER == "inductor" and not any(map(shutil.which, names)):
        raise StageFailure(
            "SettingUnsuitable",
            f"train.compile needs a {name} compiler, and there is none in the image: set "
            f"train.image to one that has {others[0]}, or leave train.compile out",
        )


@torch.no_grad()
def clip(gradients: list[Tensor], most: float, squares: Tensor) -> None:
    """Shorten them all if the root of ``squares`` is above ``most``, as clip_grad_norm_ does."""
    factor = (most / (squares.sqrt() + 1e-6)).clamp(max=1.0).float()
    torch._foreach_mul_(gradients, factor)


def parts(count: int, world: int, size: int) -> Iterator[slice]:
    """In what pieces each of ``world`` ranks computes its share of ``count`` rows, ``size`` at a
    time: of every rank the same number, as all gather what is divided."""
    for number in range(math.ceil(count / world / size)):
        yield slice(number * size, (number + 1) * size)
