"""torch's optimizers, by their functions.

Their classes bring torch._dynamo, which takes seconds and 150 MB in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from trainingjob.api.v1alpha1 import train as api

_EPSILON = 1e-8  # torch's default


class Optimizer:
    """Changes weights in place. ``state``: by name the tensors that a resumed run needs, one for
    each of the weights."""

    def __init__(self, spec: api.Optimizer | None, weights: Sequence[Tensor]) -> None:
        """Adam with its defaults when ``spec`` is None."""
        chosen = (spec and (spec.sgd or spec.adam or spec.adamw)) or api.Adam()
        self.rate = chosen.learning_rate
        self._steps = [torch.zeros((), device=one.device) for one in weights]
        self._step: Callable[..., None]
        if isinstance(chosen, api.Sgd):
            names = ["momentum"] if chosen.momentum else []
            self._step = partial(sgd, momentum=chosen.momentum, nesterov=chosen.nesterov)
            self._step = partial(self._step, dampening=0.0)
        else:
            names = ["mean", "square"]
            function = adamw if isinstance(chosen, api.AdamW) else adam
            self._step = partial(function, beta1=chosen.beta1, beta2=chosen.beta2, eps=_EPSILON)
            self._step = partial(self._step, amsgrad=False)
        self._step = partial(
            self._step, fused=True, maximize=False, weight_decay=chosen.weight_decay
        )
        self.state = {name: [torch.zeros_like(one) for one in weights] for name in names}

    def resume(self, step: int) -> None:
        """So many steps were taken."""
        for one in self._steps:
            one.fill_(step)

    @torch.no_grad()
    def step(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        """Take a step at this learning rate."""
        if "mean" in self.state:
            mean, square = self.state["mean"], self.state["square"]
            self._step(weights, gradients, mean, square, [], self._steps, lr=rate)
        else:
            nothing = [None] * len(weights)
            self._step(weights, gradients, self.state.get("momentum", nothing), lr=rate)
