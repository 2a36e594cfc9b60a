"""One process of a language model's gang: load, train, save."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trainingjob.api.base import camel
from trainingjob.api.payload import StageResult, TrainPayload
from trainingjob.api.v1alpha1.status import Outputs
from trainingjob.api.v1alpha1.train import CHECKPOINTED

from ...base.digest import digest_of_folder
from ...base.errors import StageFailure, storage_errors
from ...base.log import log
from ...dataset import suitable
from ...dataset.manifest import DatasetManifest
from ...dataset.rows import Rows
from ...model import language
from ...model.folder import HISTORY
from ...storage import resolve, write_aside
from ..data import mix
from ..gang import Gang, device_name, uses_bf16
from ..place import Place
from ..stopping import StopRequest
from .checkpoints import ShardedCheckpoints
from .data import TokenSplit
from .loop import ShardedTrainer, rows_of_a_part
from .shards import part_of, shard


def run(
    payload: TrainPayload,
    place: Place,
    device: torch.device,
    threads: int,
) -> StageResult | None:
    """Rank 0 returns the stage's result.

    Raises StageFailure, also DatasetInvalid and SplitEmpty before the ranks meet."""
    assert payload.model is not None
    folder = resolve(payload.dataset)
    manifest = DatasetManifest.read(folder)
    suitable.check(manifest, payload.task, folder)
    suitable.check_rows(manifest, "train", folder)
    assert manifest.tokens is not None
    batch, micro = payload.batch_size or 32, rows_of_a_part(payload, place.world)
    training = TokenSplit(Rows(folder, manifest, "train", []), batch, device)
    validation = TokenSplit(Rows(folder, manifest, "validation", []), micro * place.world, device)
    beginning = language.begin(payload.model, manifest.tokens)
    model = beginning.network
    bf16 = uses_bf16(payload, device)

    gang = Gang(place, device)
    stop = StopRequest()
    name = device_name(device, gang.world, bf16)
    if gang.rank == 0:
        size = sum(parameter.numel() for parameter in model.parameters())
        own = sum(one.numel() for one in model.parameters() if one.requires_grad)
        learned = "" if own == size else f", {own / 1e6:.4g} M of them learned"
        log(
            f"training on {name}: {size / 1e6:.4g} M parameters{learned}, "
            f"{manifest.tokens.splits['train'].tokens} tokens in {training.rows} rows, "
            f"{training.steps} steps an epoch, {gang.world} processes of {threads} threads"
        )
    shard(model, gang.world, device, bf16=bf16)
    mine: Callable[[Tensor, Tensor], Tensor] = partial(part_of, rank=gang.rank, world=gang.world)
    beginning.fill(device, payload.seed, mix, mine)
    trainer = ShardedTrainer(
        payload,
        model,
        training,
        validation,
        gang,
        device,
        bf16=bf16,
        checkpoints=_checkpoints(payload, manifest, training, beginning, gang, device),
        stopping=stop.requested,
    )
    try:
        position = trainer.run()
    except torch.OutOfMemoryError as error:
        raise StageFailure("OutOfMemory", _too_large(device)) from error
    trainer.must_be_whole()
    target = resolve(payload.model_uri)
    save = partial(beginning.save, tokenizer=folder / manifest.tokenizer)
    result = None
    if gang.rank > 0:
        save(None)
    else:
        with storage_errors("write the model"):
            with write_aside(target) as aside:
                save(aside)
                (aside / HISTORY).write_text(json.dumps(position.history, indent=1) + "\n")
            digest = digest_of_folder(target)
        last = position.history[-1]
        result = StageResult(
            outputs=Outputs(
                uri=payload.model_uri,
                digest=digest,
                steps=position.step,
                epochs=position.epoch,
                loss=float(last["loss"] or 0.0),
                validation_loss=last["validation_loss"],
                device=name,
            )
        )
    gang.barrier()  # the model is complete
    gang.leave()
    return result


def _too_large(device: torch.device) -> str:
    peak = torch.cuda.max_memory_allocated(device) / 1e9
    return (
        f"training ran out of the GPU's memory, with {peak:.1f} GB in use: lower train.batchSize, "
        "raise train.gradientAccumulation, or divide the model over more train.nodes"
    )


def _checkpoints(
    payload: TrainPayload,
    manifest: DatasetManifest,
    training: TokenSplit,
    beginning: language.New | language.Given,
    gang: Gang,
    device: torch.device,
) -> ShardedCheckpoints:
    """With what a resumed run must have in common with the one that saved."""
    chosen = payload.to_dict()
    fingerprint = {name: chosen.get(name) for name in map(camel, CHECKPOINTED)}
    fingerprint |= {"dataset": manifest.digest, "rows in a window": training.window_rows}
    # Read by one rank: it may be large.
    given = gang.broadcast_json(beginning.digest() if gang.rank == 0 else None)
    fingerprint |= {"pretrained": given} if given else {}
    folder = resolve(payload.checkpoints)
    return ShardedCheckpoints(
        folder, payload.checkpoint, payload.job.uid, fingerprint, gang, device
    )
