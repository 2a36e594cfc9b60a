"""What can be known before training is told before it: hours of a GPU hang on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.search import ends
from trainingjob.api.v1alpha1.train import Train

from ..base.errors import StageFailure, of_fold
from ..dataset import suitable
from ..dataset.manifest import DatasetManifest, require
from ..model import accepted, pretrained
from ..storage import resolve
from .budget import budget_of, check_batch


def check(payload: TrainPayload) -> None:
    """Refuse a dataset that the built-in model cannot learn from, or that the evaluation that
    follows could not judge by.

    Own code without an evaluation may read what it likes. Raises StageFailure: DatasetInvalid,
    LabelInvalid, SettingUnsuitable, MetricUndefined, BaselineInvalid, ColumnNotFound, NoFeatures,
    FeatureNotNumeric, SplitEmpty, InputNotFound, InputUnreadable.
    """
    if payload.accepted is not None:
        accepted.read(payload.accepted)
    if payload.model is None and not payload.needs_model:
        return
    folder = resolve(payload.dataset)
    try:
        manifest = DatasetManifest.read(folder)
    except StageFailure as failure:
        who = "evaluate needs it" if payload.model is None else "the built-in model needs it"
        raise StageFailure(failure.reason, f"{failure.message}; {who}") from failure
    require(manifest, folder)
    _check(payload, manifest, folder)
    for fold, part in enumerate(manifest.parts, 1):
        with of_fold(fold):
            _check(payload, DatasetManifest.read(folder / part), folder / part)


def _of_other_batches(payload: TrainPayload) -> Iterator[TrainPayload]:
    """With the sizes of a batch that a search may try, or the least and the largest of them."""
    for one in payload.search.parameters if payload.search is not None else ():
        if one.field == "batchSize":
            for size in ends(Train, one):
                yield payload.model_copy(update={"batch_size": size})


def _check(payload: TrainPayload, manifest: DatasetManifest, folder: Path) -> None:
    suitable.check(manifest, payload.task, folder)
    suitable.positive(manifest, payload.task, payload.metrics or (), payload.threshold)
    features = suitable.features(manifest, payload.task, payload.sample_weight)
    given = payload.model.pretrained if payload.model is not None else None
    if given is not None and manifest.tokens is not None:
        pretrained.check(pretrained.look(given), manifest.tokens, folder / manifest.tokenizer)
    if payload.model is not None:
        trees = payload.model.gradient_boosting is not None
        suitable.check_types(manifest, features, texts=trees)
        suitable.check_rows(manifest, "train", folder)
        if not trees:
            for one in (payload, *_of_other_batches(payload)):
                budget_of(one, manifest)
                check_batch(one)
    if payload.early_stopping is not None or payload.search is not None:
        suitable.check_rows(manifest, "validation", folder)
    if payload.needs_model and not manifest.folds:
        suitable.check_rows(manifest, "test", folder)
