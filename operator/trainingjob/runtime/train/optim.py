"""Optimizers and learning rate schedules of the built-in loop.

The rules are those of torch.optim (and tested against it), written out for one flat vector:
importing torch.optim brings torch._dynamo, which takes a second and 150 MB in every process.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from trainingjob.api.v1alpha1 import train as api

_ADAM_EPSILON = 1e-8  # torch's default


class FlatOptimizer(Protocol):
    """Changes the weights in place. ``state``: the tensors that a resumed run needs, by name."""

    rate: float
    state: dict[str, Tensor]

    def step(self, number: int, rate: float) -> None:
        """Take optimizer step ``number`` (from 1) at this learning rate."""


def make_optimizer(spec: api.Optimizer | None, weights: Tensor, gradient: Tensor) -> FlatOptimizer:
    """Adam with its defaults when ``spec`` is None."""
    if spec is not None and spec.sgd is not None:
        return Sgd(spec.sgd, weights, gradient)
    if spec is not None and spec.adamw is not None:
        return Adam(spec.adamw, weights, gradient)
    return Adam((spec and spec.adam) or api.Adam(), weights, gradient)


class Sgd:
    """torch.optim.SGD: momentum after Sutskever et al. (2013), the L2 penalty in the gradient."""

    def __init__(self, spec: api.Sgd, weights: Tensor, gradient: Tensor) -> None:
        self.rate = spec.learning_rate
        self.state = {"momentum": torch.zeros_like(weights)} if spec.momentum else {}
        self._spec, self._weights, self._gradient = spec, weights, gradient

    def step(self, number: int, rate: float) -> None:
        spec, direction = self._spec, self._gradient
        if spec.weight_decay:
            direction.add_(self._weights, alpha=spec.weight_decay)
        if spec.momentum:
            momentum = self.state["momentum"].mul_(spec.momentum).add_(direction)
            if spec.nesterov:
                direction.add_(momentum, alpha=spec.momentum)
            else:
                direction = momentum
        self._weights.add_(direction, alpha=-rate)


class Adam:
    """torch.optim.Adam (Kingma and Ba, 2015), or AdamW (Loshchilov and Hutter, 2019)."""

    def __init__(self, spec: api.Adam, weights: Tensor, gradient: Tensor) -> None:
        self.rate = spec.learning_rate
        self.state = {"mean": torch.zeros_like(weights), "square": torch.zeros_like(weights)}
        self._spec, self._weights, self._gradient = spec, weights, gradient
        self._scale = torch.empty_like(weights)

    def step(self, number: int, rate: float) -> None:
        spec, gradient = self._spec, self._gradient
        if spec.weight_decay:
            if isinstance(spec, api.AdamW):
                self._weights.mul_(1 - rate * spec.weight_decay)
            else:
                gradient.add_(self._weights, alpha=spec.weight_decay)
        mean = self.state["mean"].lerp_(gradient, 1 - spec.beta1)
        square = self.state["square"].mul_(spec.beta2)
        square.addcmul_(gradient, gradient, value=1 - spec.beta2)
        correction = math.sqrt(1 - spec.beta2**number)
        torch.sqrt(square, out=self._scale).div_(correction).add_(_ADAM_EPSILON)
        self._weights.addcdiv_(mean, self._scale, value=-rate / (1 - spec.beta1**number))


def rate_factor(schedule: api.Schedule | None, step: int, total: int, epoch: int) -> float:
    """The learning rate at a step (both from 0) as a share of the configured one."""
    if schedule is None:
        return 1.0
    if schedule.step is not None:
        return schedule.step.factor ** (epoch // schedule.step.every_epochs)
    cosine = schedule.cosine
    if cosine is None:
        return 1.0
    if step < cosine.warmup_steps:
        return (step + 1) / cosine.warmup_steps
    share = (step - cosine.warmup_steps) / max(1, total - cosine.warmup_steps)
    return cosine.min_factor + (1 - cosine.min_factor) * 0.5 * (1 + math.cos(math.pi * share))
