"""What lowers the memory that training takes, told where it is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from trainingjob.api.payload import TrainPayload

from ..base.errors import told_of_memory
from ..gang.collectives import Gang
from .budget import batch_of, rows_of_a_part
from .devices import peak_memory
from .families import Family
from .placement import part_of

# Of the ways to lower it, those that do least harm.
_NAMED = 3
PLACING = "placing the model"


def enough_memory(
    payload: TrainPayload, family: Family, gang: Gang, device: torch.device, what: str
) -> AbstractContextManager[None]:
    """Raises StageFailure(OutOfMemory) with the peak, and the fields that lower it, when ``what``,
    PLACING or "training", runs out of memory."""

    def words(error: str) -> str:
        ways = _of_weights if what == PLACING else _of_a_step
        *others, last = [*ways(payload, family, gang)][:_NAMED]
        remedy = f"{', '.join(others)}, or {last}" if others else last
        peak = peak_memory(device) / 1e9
        return (
            f"{what} ran out of memory, with {peak:.1f} GB in use at its peak ({error}): {remedy}"
        )

    return told_of_memory(words)


def _of_a_step(payload: TrainPayload, family: Family, gang: Gang) -> Iterator[str]:
    """What a step takes beside weights and optimizer."""
    if rows_of_a_part(payload, gang.world) > 1:
        accumulation = payload.gradient_accumulation or 1
        yield f"raise train.gradientAccumulation above {accumulation}"
    if family.tokens is not None and not payload.activation_checkpointing:
        yield "set train.activationCheckpointing"
    if _repeated(payload, family, gang):
        yield "set train.sharding: full"
    if batch_of(payload) > gang.world:
        yield "lower train.batchSize"
    yield "divide the model over more train.nodes"
    if family.tokens is not None:
        yield "shorten preprocess.tokenize.sequenceLength"


def _of_weights(payload: TrainPayload, family: Family, gang: Gang) -> Iterator[str]:
    """What lowers weights and optimizer."""
    given = payload.model.pretrained if payload.model is not None else None
    if _repeated(payload, family, gang):
        yield "set train.sharding: full"
    if given is not None and given.lora is None:
        yield "train small matrices alone by train.model.pretrained.lora"
    kept = {"ema": payload.ema, "earlyStopping": payload.early_stopping}
    for name in (name for name, value in kept.items() if value is not None):
        yield f"leave out train.{name}, which keeps a copy of the weights"
    if family.tokens is None:
        yield "lower train.model.mlp.hidden"
        return
    yield "divide the model over more train.nodes"
    yield (
        "take a smaller model"
        if given is not None
        else "lower train.model.transformer.hidden or layers"
    )


def _repeated(payload: TrainPayload, family: Family, gang: Gang) -> bool:
    return gang.world > part_of(payload.sharding, family, gang).count
