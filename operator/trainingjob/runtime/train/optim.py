"""Optimizers and learning rate schedules of the built-in loop, as torch has them."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainingjob.api.v1alpha1.train import Adam, Optimizer, Schedule


def make_optimizer(spec: Optimizer | None, parameter: nn.Parameter) -> torch.optim.Optimizer:
    """Of one flat parameter; Adam with its defaults when ``spec`` is None."""
    if spec is not None and spec.sgd is not None:
        return torch.optim.SGD(
            [parameter],
            lr=spec.sgd.learning_rate,
            momentum=spec.sgd.momentum,
            nesterov=spec.sgd.nesterov,
            weight_decay=spec.sgd.weight_decay,
            fused=True,
        )
    decoupled = spec is not None and spec.adamw is not None
    adam = (spec and (spec.adamw or spec.adam)) or Adam()
    return (torch.optim.AdamW if decoupled else torch.optim.Adam)(
        [parameter],
        lr=adam.learning_rate,
        betas=(adam.beta1, adam.beta2),
        weight_decay=adam.weight_decay,
        fused=True,
    )


def rate_factor(schedule: Schedule | None, step: int, total: int, epoch: int) -> float:
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
