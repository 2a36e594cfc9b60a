"""The models that one training makes, one after the other: those of the folds, then the final one.

What belongs to a fold lies in a folder of its own: its dataset, its checkpoints and, until all are
done, its model. A training that goes on passes over the models that are done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainingjob.api.payload import (
    CHECKPOINT_DIR,
    CHECKPOINT_URI,
    FOLD,
    INPUT_DIR,
    INPUT_URI,
    OUTPUT_DIR,
    TrainPayload,
)
from trainingjob.api.uris import is_remote

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..dataset.manifest import DatasetManifest, fold_name
from ..model.folder import HISTORY
from ..storage import remove, resolve, write_aside
from . import word

_FINAL = "final"
# Below the folder of the checkpoints.
_MODELS = "models"


class Done(word.Word):
    """``models/fold-1.json``: the model beside it is whole."""

    dataset: str
    model: str


@dataclass(frozen=True)
class Part:
    """One of the models. ``payload``: where its own dataset, checkpoints and model are; ``fold``
    from 1, None for the final model."""

    payload: TrainPayload
    fold: int | None = None
    folds: int = 0

    @property
    def words(self) -> str:
        """What begins the lines of the log about it."""
        if not self.folds:
            return ""
        return f"fold {self.fold}/{self.folds} " if self.fold else "final model "

    @property
    def variables(self) -> dict[str, str]:
        """What own code finds it by, where there are folds; else it is told beforehand."""
        if not self.folds:
            return {}
        fold = {} if self.fold is None else {FOLD: str(self.fold)}
        uris = {INPUT_URI: self.payload.dataset, CHECKPOINT_URI: self.payload.checkpoints}
        fold |= {name: uri for name, uri in uris.items() if is_remote(uri)}
        return fold | {
            INPUT_DIR: str(resolve(self.payload.dataset)),
            OUTPUT_DIR: str(resolve(self.payload.model_uri)),
            CHECKPOINT_DIR: str(resolve(self.payload.checkpoints)),
        }

    @property
    def folder(self) -> str:
        """The name of what is its own."""
        return fold_name(self.fold) if self.fold else _FINAL

    def is_done(self, *, before: bool = False) -> bool:
        """Whether the model was made, by an attempt ``before`` this one, and is whole."""
        done = None if self.fold is None else word.read(self._record_uri, Done)
        if done is None or done.uid != self.payload.job.uid:
            return False
        if before and done.attempt >= self.payload.attempt:
            return False
        return (done.dataset, done.model) == self._digests()

    def tell_done(self) -> None:
        """The model of a fold is whole. Raises StageFailure of the storage."""
        if self.fold is None:
            return
        log(f"{self.words}is trained")
        with storage_errors("read the model of a fold"):
            dataset, model = self._digests()
        done = Done(
            uid=self.payload.job.uid, attempt=self.payload.attempt, dataset=dataset, model=model
        )
        word.tell(self._record_uri, done)

    def wait(self) -> None:
        """Until another node has told of this attempt's model; it does, or the gang is ended."""
        if self.fold is not None:
            word.wait(self._record_uri, Done, self.payload)

    @property
    def _record_uri(self) -> str:
        return f"{self.payload.model_uri}.json"

    def _digests(self) -> tuple[str, str]:
        manifest = DatasetManifest.read(resolve(self.payload.dataset))
        return manifest.digest, digest_of_folder(resolve(self.payload.model_uri))


@dataclass(frozen=True)
class Stretch:
    """Where this model stands among those that are trained one after the other: ``begins`` steps
    are planned for the ones before it, ``total`` for all, None: it is the only one. ``words`` begin
    lines of the log."""

    begins: int = 0
    total: int | None = None
    fold: int | None = None
    words: str = ""


def parts_of(payload: TrainPayload) -> list[Part]:
    """All models, in order. Without an evaluation nobody asks for those of folds, and own code may
    train from what is no dataset."""
    try:
        manifest = DatasetManifest.read(resolve(payload.dataset))
    except StageFailure:
        return [Part(payload)]
    if not (manifest.folds and payload.needs_model):
        return [Part(payload)]
    found, count = [], len(manifest.folds)
    for fold, part in enumerate(manifest.parts, 1):
        name = fold_name(fold)
        own = {
            "dataset": f"{payload.dataset}/{part}",
            "checkpoints": f"{payload.checkpoints}/{name}",
            "model_uri": f"{payload.checkpoints}/{_MODELS}/{name}",
        }
        found.append(Part(payload.model_copy(update=own), fold, count))
    final = {
        "checkpoints": f"{payload.checkpoints}/{_FINAL}",
        # Without rows to judge it on, it may be of any kind.
        "needs_model": manifest.splits["test"].rows > 0,
    }
    return [*found, Part(payload.model_copy(update=final), None, count)]


def publish(
    part: Part, parts: Sequence[Part], write: Callable[[Path], None], history: Sequence[Any]
) -> str:
    """Make a part's model as ``write`` does, with its history, the final one with those of the
    folds, and tell that it is done; its digest. Raises StageFailure(DiskFull) and the like."""
    target = resolve(part.payload.model_uri)
    with storage_errors("write the model"):
        with write_aside(target) as folder:
            write(folder)
            (folder / HISTORY).write_text(json.dumps(history, indent=1) + "\n")
            if part.fold is None:
                gather(parts, folder)
        digest = digest_of_folder(target)
    part.tell_done()
    if part.fold is not None:
        with storage_errors("remove the checkpoints of a fold"):
            remove(resolve(part.payload.checkpoints))
    return digest


def gather(parts: Sequence[Part], folder: Path) -> bool:
    """Put the models of folds into the final model's folder, each in one of its own; whether there
    are any. Raises OSError."""
    of_folds = [part for part in parts if part.fold is not None]
    for part in of_folds:
        target = folder / part.folder
        shutil.rmtree(target, ignore_errors=True)
        # Links are not followed: own code may leave them to what never ends.
        source = resolve(part.payload.model_uri)
        shutil.copytree(source, target, symlinks=True, copy_function=shutil.copyfile)
    return bool(of_folds)
