"""One process of a built-in model's gang: ``python -m trainingjob.runtime.train.worker``.

Its launcher sets torch's variables (RANK, WORLD_SIZE, ...) and reads what it tells (reports.py).
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch

from trainingjob.api.payload import STAGE_PAYLOAD, StageResult, TrainPayload
from trainingjob.api.v1alpha1.reported import Outputs

from ..base.errors import StageFailure, of_fold, storage_errors
from ..base.log import log
from ..base.text import one_line
from ..dataset.manifest import DatasetManifest
from ..gang import ranks
from ..gang.collectives import Gang, pick_device
from ..gang.place import Place
from ..storage import resolve
from ..storage.ownership import claim
from .budget import budget_of, warmup_of
from .families import family_of
from .loop import Trained, Trainer
from .parts import Part, Stretch, parts_of, publish
from .search import Search, Trial, Tried, checkpoints_of, of_trial
from .stopping import StopRequest


def work(payload: TrainPayload) -> StageResult | None:
    """Load, train, save. Rank 0 returns the stage's result."""
    place = Place.from_env(os.environ)
    device = pick_device(place)
    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    if device.type == "cpu":
        # As use_deterministic_algorithms(True), which takes a second to import torch._inductor.
        torch.set_deterministic_debug_mode("error")
        # It costs, and finds only errors.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    make = _searched if payload.search is not None else _trained
    return make(payload, place, device, threads)


def _trained(
    payload: TrainPayload, place: Place, device: torch.device, threads: int
) -> StageResult | None:
    """Each part's model."""
    parts = parts_of(payload)
    if place.rank == 0 and len(parts) > 1:
        with storage_errors("read the checkpoints"):
            claim(resolve(payload.checkpoints), payload.job.uid)
    mine = [part for part in parts if not part.is_done()]
    # Before the rendezvous: a dataset that cannot be used is told by every rank at once.
    first = family_of(mine[0].payload, place, device)
    gang = Gang(place, device)
    stop = StopRequest()
    # Rank 0 alone decides what is done.
    folds = gang.broadcast_json([part.fold for part in mine])
    steps = [_steps(part.payload) for part in parts]
    result = None
    for number, part in enumerate(parts):
        if part.fold not in folds:
            if gang.rank == 0:
                log(f"{part.words}was trained before")
            continue
        with of_fold(part.fold):
            stretch = Stretch(sum(steps[:number]), sum(steps), part.fold, part.words)
            family = first if part is mine[0] else family_of(part.payload, place, device)
            trainer = Trainer(
                part.payload, family, gang, device, stopping=stop.requested, stretch=stretch
            )
            if gang.rank == 0:
                log(
                    f"{part.words}training on {trainer.device_name}: {family.words()}, "
                    f"{trainer.parameters} weights, {family.training.steps} steps "
                    f"an epoch, {gang.world} processes of {threads} threads"
                )
                _warn_of_warmup(part.payload, trainer.total_steps)
            result = save(part, parts, trainer, trainer.run())
    gang.leave()
    return result


def _searched(
    payload: TrainPayload, place: Place, device: torch.device, threads: int
) -> StageResult | None:
    """The best of the trials' models."""
    assert payload.search is not None
    # As above: by every rank at once.
    family_of(payload, place, device)
    gang, stop = Gang(place, device), StopRequest()
    search = Search(payload) if gang.rank == 0 else None
    before = resolve(checkpoints_of(payload, 0))
    for number in range(1, payload.search.trials + 1):
        gang.wait_for_first()  # it may have written a model
        # Of what rank 0 has removed each pod may have copies.
        shutil.rmtree(before, ignore_errors=True)
        told = gang.broadcast_json(search.ask(number) if search else None)
        if told is None:
            continue
        before = resolve(checkpoints_of(payload, number))
        with of_trial(number, told["settings"]):
            tried = _try(payload, told, gang, device, stop)
        if search:
            search.tell(number, told["settings"], tried)
    result = search.result() if search else None
    gang.leave()
    return result


def _try(
    payload: TrainPayload, told: dict[str, Any], gang: Gang, device: torch.device, stop: StopRequest
) -> Tried:
    """What comes of one trial: the same on every rank, but for the result."""
    # The model before is part of cycles, which Python leaves there for a while.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        trial = Trial.of(payload, told)
    except ValueError as error:
        return Tried("failed", message=one_line(error))
    family = family_of(trial.payload, gang.place, device)
    steps = budget_of(trial.payload, family.training.source.manifest).steps
    stretch = Stretch((trial.number - 1) * steps, trial.trials * steps, None, trial.words)
    trainer = Trainer(
        trial.payload,
        family,
        gang,
        device,
        stopping=stop.requested,
        stretch=stretch,
        hopeless=trial.is_hopeless,
    )
    try:
        trained = trainer.run()
    except StageFailure as failure:
        if failure.reason != "LossNotFinite":
            raise
        trainer.give_up()
        return Tried("failed", message=failure.message)
    losses = [float(one["validation_loss"] or 0.0) for one in trained.history]
    if trainer.pruned or trained.validation_loss is None:
        return Tried("pruned", losses)
    result = None
    if trial.is_best(trained.validation_loss):
        result = save(Part(trial.payload), (), trainer, trained)
    return Tried("complete", losses, trained.validation_loss, result)


def _warn_of_warmup(payload: TrainPayload, steps: int) -> None:
    if (warmup := warmup_of(payload.schedule)) > steps:
        log(
            f"warning: train.schedule warms up for {warmup} steps, and there are {steps}: the "
            f"learning rate ends at {steps / warmup:.3g} of the optimizer's"
        )


def _steps(payload: TrainPayload) -> int:
    """Those that are planned for a model."""
    return budget_of(payload, DatasetManifest.read(resolve(payload.dataset))).steps


def save(
    part: Part, parts: Sequence[Part], trainer: Trainer, trained: Trained
) -> StageResult | None:
    """Write the model, the final one with those of the folds; rank 0 returns the stage's result.
    Raises StageFailure(DiskFull) and the like."""
    payload, family, network = part.payload, trainer.family, trainer.net.module
    if trainer.gang.rank > 0:
        family.save(None, network)
        return None
    digest = publish(part, parts, lambda to: family.save(to, network), trained.history)
    known = Outputs(
        uri=payload.model_uri,
        digest=digest,
        steps=trained.steps,
        epochs=trained.epochs,
        loss=trained.loss,
        validation_loss=trained.validation_loss,
        device=trainer.device_name,
    )
    return StageResult(outputs=family.outputs(known))


def main() -> int:
    """Train as the payload in the environment says; 0 when all is done and told."""
    payload = TrainPayload.model_validate_json(os.environ[STAGE_PAYLOAD])
    return ranks.told(lambda: work(payload), "train")


if __name__ == "__main__":
    ranks.end(main())
