"""One process of a built-in model's gang: ``python -m trainingjob.runtime.train.worker``.

Its launcher sets torch's variables (RANK, WORLD_SIZE, ...) and reads what it tells (reports.py).
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch
from pydantic.alias_generators import to_camel

from trainingjob.api.payload import STAGE_PAYLOAD, StageResult, TrainPayload
from trainingjob.api.v1alpha1.status import Outputs
from trainingjob.api.v1alpha1.train import CHECKPOINTED, Mlp

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, from_os_error, of_fold, storage_errors
from ..base.log import log
from ..base.text import one_line
from ..dataset import suitable
from ..dataset.manifest import DatasetManifest
from ..dataset.rows import Rows
from ..model.folder import HISTORY
from ..model.mlp import ModelConfig, save_model
from ..model.target import Target, Transform
from ..storage import remove, resolve, write_aside
from . import reports
from .checkpoints import Checkpoints
from .data import Split
from .gang import Gang, device_name, pick_device, uses_bf16
from .loop import Trained, Trainer
from .narrator import Stretch
from .ownership import claim
from .parts import Part, gather, parts_of
from .place import Place
from .stopping import StopRequest
from .weights import Weights

# 128 + SIGTERM, as a shell tells it.
STOPPED = 143


def main() -> int:
    """Train as the payload in the environment says; 0 when all is done and told."""
    folder, rank = Path(os.environ[reports.REPORTS_DIR]), int(os.environ["RANK"])
    try:
        result = work(TrainPayload.model_validate_json(os.environ[STAGE_PAYLOAD]))
    except BaseException as error:
        failure = as_failure(error)
        if failure.reason == "InternalError":
            traceback.print_exc()
        sys.stderr.write(f"rank {rank}: {failure.reason}: {failure.message}\n")
        reports.tell_failure(folder, rank, failure)
        return STOPPED if failure.reason == "Disrupted" else 1
    reports.tell_done(folder, rank, result)
    return 0


def work(payload: TrainPayload) -> StageResult | None:
    """Load, train, save. Rank 0 returns the stage's result."""
    place = Place.from_env(os.environ)
    device = pick_device(place)
    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        # As use_deterministic_algorithms(True), which takes a second to import torch._inductor.
        torch.set_deterministic_debug_mode("error")
        # It costs, and finds only errors.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    if payload.model is not None and payload.model.of_language:
        # transformers takes seconds to import.
        from .sharded.run import run

        return run(payload, place, device, threads)
    parts = parts_of(payload)
    if place.rank == 0 and len(parts) > 1:
        with storage_errors("read the checkpoints"):
            claim(resolve(payload.checkpoints), payload.job.uid)
    mine = [part for part in parts if not part.is_done()]
    # Before the rendezvous: a dataset that cannot be used is told by every rank at once.
    first = Ready(mine[0], device)
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
            ready = first if part is first.part else Ready(part, device)
            if gang.rank == 0:
                log(
                    f"{part.words}training on {ready.device_name(gang)}: {ready.training.rows} "
                    f"rows, {len(ready.config.features)} features, {ready.training.steps} steps an "
                    f"epoch, {gang.world} processes of {threads} threads"
                )
            trained = ready.train(gang, stop, stretch)
            if gang.rank == 0:
                result = ready.save(trained, ready.device_name(gang), parts)
    gang.barrier()  # the model is complete
    gang.leave()
    return result


def _steps(payload: TrainPayload) -> int:
    """Those that are planned for a model."""
    rows = DatasetManifest.read(resolve(payload.dataset)).splits["train"].rows
    return (payload.epochs or 10) * math.ceil(rows / (payload.batch_size or 32))


class Ready:
    """A model that can be trained: its data was looked at, and how it is to be.

    Raises StageFailure: DatasetInvalid and those of its features, labels and weights."""

    def __init__(self, part: Part, device: torch.device) -> None:
        self.part, self.device, payload = part, device, part.payload
        folder = resolve(payload.dataset)
        manifest = DatasetManifest.read(folder)
        features = suitable.learnable(manifest, payload.task, payload.sample_weight)
        batch = payload.batch_size or 32
        self.training, self.validation = (
            Split(Rows(folder, manifest, name, features), batch, device)
            for name in ("train", "validation")
        )
        if self.training.rows == 0:
            raise StageFailure("SplitEmpty", "the dataset's train split is empty")
        if payload.early_stopping is not None and self.validation.rows == 0:
            raise StageFailure(
                "SplitEmpty", "earlyStopping needs a validation split, which is empty"
            )
        self.training.weights = Weights.of_split(
            self.training.source, payload.class_weights, payload.sample_weight
        )
        target = target_of(payload, self.training, self.validation)
        self.training.target = self.validation.target = target
        assert payload.task.type != "languageModel"  # the manifest's rules
        self.config = ModelConfig(
            task=payload.task.type,
            label=manifest.label,
            features=features,
            classes=manifest.classes,
            mlp=(payload.model and payload.model.mlp) or Mlp(),
            target_mean=target.mean,
            target_std=target.std,
            target_transform=target.transform,
            sample_weight=payload.sample_weight,
            dataset_digest=manifest.digest,
            pipeline=manifest.pipeline,
        )
        self._bf16 = uses_bf16(payload, device)

    def device_name(self, gang: Gang) -> str:
        """As ``device_name``."""
        return device_name(self.device, gang.world, self._bf16)

    def train(self, gang: Gang, stop: StopRequest, stretch: Stretch) -> Trained:
        """To the end, from the newest checkpoint, if there is one; raises what ``Trainer.run``
        raises."""
        checkpoints = None
        if gang.rank == 0:
            checkpoints = _checkpoints(self.part.payload, self.config, self.training)
        return Trainer(
            self.part.payload,
            self.config,
            self.training,
            self.validation,
            gang,
            self.device,
            bf16=self._bf16,
            checkpoints=checkpoints,
            stopping=stop.requested,
            stretch=stretch,
        ).run()

    def save(self, trained: Trained, device: str, parts: Sequence[Part]) -> StageResult:
        """Write the model, the final one with those of the folds; raises StageFailure(DiskFull)
        and the like."""
        payload, config = self.part.payload, self.config
        target = resolve(payload.model_uri)
        with storage_errors("write the model"):
            with write_aside(target) as folder:
                save_model(folder, config, trained.weights)
                (folder / HISTORY).write_text(json.dumps(trained.history, indent=1) + "\n")
                if self.part.fold is None:
                    gather(parts, folder)
            digest = digest_of_folder(target)
        self.part.tell_done()
        if self.part.fold is not None:
            with storage_errors("remove the checkpoints of a fold"):
                remove(resolve(payload.checkpoints))
        return StageResult(
            outputs=Outputs(
                uri=payload.model_uri,
                digest=digest,
                features=len(config.features),
                classes=len(config.classes) if config.classes else None,
                steps=trained.steps,
                epochs=trained.epochs,
                loss=trained.loss,
                validation_loss=trained.validation_loss,
                device=device,
            )
        )


def target_of(payload: TrainPayload, training: Split, validation: Split) -> Target:
    """What is learned of a regression's label: standardised by the training split's moments.

    Raises StageFailure(SettingUnsuitable) for labels that the transform does not take."""
    if payload.task.type != "regression":
        return Target()
    transform: Transform | None = "log1p" if payload.target_transform == "log1p" else None
    training.target = validation.target = Target(transform)
    mean, std = training.target_statistics()
    if transform is not None:
        # For what it refuses: now, and not after the first epoch.
        validation.target_statistics()
    return Target(transform, mean, std)


def _checkpoints(payload: TrainPayload, config: ModelConfig, training: Split) -> Checkpoints:
    """With what a resumed run must have in common with the one that saved."""
    chosen = payload.to_dict()
    fingerprint = {name: chosen.get(name) for name in map(to_camel, CHECKPOINTED)}
    fingerprint |= {
        "dataset": config.dataset_digest,
        "task": config.task,
        "features": config.features,
        "rows in a window": training.window_rows,
    }
    folder = resolve(payload.checkpoints)
    return Checkpoints(folder, payload.checkpoint, payload.job.uid, fingerprint)


def as_failure(error: BaseException) -> StageFailure:
    """Whatever was raised, as a failure of the stage."""
    if isinstance(error, StageFailure):
        return error
    # The CPU allocator has no type of its own for it.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(
        error
    ):
        return StageFailure("OutOfMemory", f"training ran out of memory: {one_line(error)}")
    if isinstance(error, OSError):
        return from_os_error(error, "train")
    return StageFailure("InternalError", f"{type(error).__name__}: {one_line(error)}")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written. Taking torch down takes time, and gloo's threads sometimes abort in it.
    os._exit(code)
