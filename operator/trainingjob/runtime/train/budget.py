"""How long training goes on, in what pieces, and how fast it learns when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1 import train as api

from ..dataset.manifest import DatasetManifest

_EPOCHS = 10
_EPOCHS_OF_A_TRANSFORMER = 1


@dataclass(frozen=True)
class Budget:
    """Optimizer steps, and the epochs that they belong to, the last of which may be part of one."""

    steps: int
    epochs: int


def budget_of(payload: TrainPayload, manifest: DatasetManifest) -> Budget:
    """What the manifest asks for, of a dataset."""
    a_step = math.ceil(manifest.splits["train"].rows / (payload.batch_size or 32))
    default = _EPOCHS if manifest.tokens is None else _EPOCHS_OF_A_TRANSFORMER
    epochs = payload.epochs or default
    return Budget(epochs * a_step, epochs)


def rows_of_a_part(payload: TrainPayload, world: int) -> int:
    """Rows that a rank computes at a time."""
    share = math.ceil((payload.batch_size or 32) / world)
    return math.ceil(share / (payload.gradient_accumulation or 1))


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
