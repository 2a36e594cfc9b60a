"""How long training goes on, in what pieces, and how fast it learns when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1 import train as api

from ..base.errors import StageFailure
from ..dataset.manifest import DatasetManifest

_BATCH = 32
_EPOCHS = 10
_EPOCHS_OF_A_TRANSFORMER = 1


@dataclass(frozen=True)
class Budget:
    """Optimizer steps, and the epochs that they belong to, the last of which may be part of one."""

    steps: int
    epochs: int


def batch_of(payload: TrainPayload) -> int:
    """Rows of a step, over all ranks."""
    return payload.batch_size or _BATCH


def budget_of(payload: TrainPayload, manifest: DatasetManifest) -> Budget:
    """What the manifest asks for, of a dataset.

    Raises StageFailure(SettingUnsuitable) for tokens that are too few for a step."""
    batch = batch_of(payload)
    a_step = math.ceil(manifest.splits["train"].rows / batch)
    tokens = manifest.tokens
    if payload.tokens is None or tokens is None:
        default = _EPOCHS if tokens is None else _EPOCHS_OF_A_TRANSFORMER
        epochs = payload.epochs or default
        return Budget(epochs * a_step, epochs)
    whole, rest = divmod(payload.tokens, tokens.splits["train"].tokens)
    full = batch * tokens.sequence_length
    if tokens.chat_template is not None:  # the answers alone count, on average
        full = math.ceil(tokens.splits["train"].tokens / a_step)
    steps = whole * a_step + min(a_step, rest // full)
    if steps == 0:
        raise StageFailure(
            "SettingUnsuitable",
            f"train.tokens is {payload.tokens}, and a step learns from {full}: train.batchSize "
            f"{batch} rows of {tokens.sequence_length}; raise train.tokens or lower "
            "train.batchSize",
        )
    return Budget(steps, math.ceil(steps / a_step))


def check_batch(payload: TrainPayload) -> None:
    """Raises StageFailure(SettingUnsuitable) for a batch that cannot be divided as it is asked."""
    batch, parts = batch_of(payload), payload.gradient_accumulation or 1
    world = payload.nodes * payload.procs_per_node
    of_language = payload.model is not None and payload.model.of_language
    # A perceptron's ranks may be without rows.
    if (parts > 1 or of_language) and batch < world * parts:
        in_parts = f" in {parts} parts (train.gradientAccumulation)" if parts > 1 else ""
        raise StageFailure(
            "SettingUnsuitable",
            f"train.batchSize is {batch} rows, which {world} processes cannot share{in_parts}: "
            f"raise it to {world * parts} or more"
            + (", or lower train.gradientAccumulation" if parts > 1 else ""),
        )


def rows_of_a_part(payload: TrainPayload, world: int) -> int:
    """Rows that a rank computes at a time."""
    share = math.ceil(batch_of(payload) / world)
    return math.ceil(share / (payload.gradient_accumulation or 1))


def rate_factor(schedule: api.Schedule | None, step: int, total: int, epoch: int) -> float:
    """The learning rate at a step (both from 0) as a share of the configured one."""
    if schedule is None:
        return 1.0
    if schedule.step is not None:
        return schedule.step.factor ** (epoch // schedule.step.every_epochs)
    warmup = warmup_of(schedule)
    if step < warmup:
        return (step + 1) / warmup
    falling = schedule.cosine or schedule.linear
    if falling is None:
        return 1.0
    share = (step - warmup) / max(1, total - warmup)
    left = 0.5 * (1 + math.cos(math.pi * share)) if schedule.cosine else 1 - share
    least = falling.min_factor or 0.0
    return least + (1 - least) * left


def warmup_of(schedule: api.Schedule | None) -> int:
    """Steps until the learning rate is the configured one."""
    its = schedule and (schedule.cosine or schedule.linear or schedule.constant)
    return (its and its.warmup_steps) or 0
