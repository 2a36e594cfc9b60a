"""``accepted/<name>/``: an accepted model for good, with what a server of it needs to know.

The model's files as they were judged, and ``trainingjob.json`` beside them. Whoever serves it shows
first that it gives for some rows what was judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError

from trainingjob.api import variants
from trainingjob.api.accepted import folder_name
from trainingjob.api.base import Model
from trainingjob.api.payload import EvaluatePayload, JobRef
from trainingjob.api.v1alpha1.evaluate import Gate
from trainingjob.api.v1alpha1.job import Task

from .. import storage
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..dataset import suitable
from ..dataset.columns import BadColumn
from ..dataset.manifest import DatasetManifest, RawRows
from ..dataset.rows import Rows
from ..model.folder import RUNNABLE, TEXT_CLASSIFIER, find, has_transformer
from . import sources
from .judgement import Batch
from .report import MetricsFile, Source

CARD = "trainingjob.json"
# Rows that prove a language model, and tokens of each.
_TEXTS, _TEXT_TOKENS = 8, 256
_CARD_BYTES = 256 * 2**20
_OURS = re.compile(r"(\.)?[0-9a-f]{12}-[0-9a-f]{8}(?(1)\.(writing|old))")


class Texts(Model):
    """Of a language model, what a server proves it by: the beginnings of rows of the test split."""

    ids: list[list[int]] = Field(description="Their tokens.")
    targets: list[list[int]] = Field(
        description="What is to be predicted behind each but the last one; -100: nothing."
    )
    losses: list[float] = Field(
        description="Mean negative log-likelihood of a row's targets, in nats."
    )


class Card(Model):
    """``trainingjob.json``."""

    version: Literal[1] = 1
    job: JobRef = Field(description="The run that made the model.")
    task: Task
    threshold: float | None = None
    kind: Source
    model_digest: str = Field(description="Of all other files in the folder.")
    dataset: DatasetManifest = Field(
        description="Of the dataset that it was judged on, without its files."
    )
    outputs: list[list[float]] | None = Field(
        None,
        description="What it gave for the rows that the manifest shows: scores of the classes, or "
        "one value. Unset: nobody has run it on rows.",
    )
    texts: Texts | None = Field(None, description="Likewise of a language model.")
    report: MetricsFile
    gates: list[Gate]

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Raises StageFailure(ModelMissing, ModelCorrupt), OSError."""
        path = folder / CARD
        if not path.is_file():
            raise StageFailure(
                "ModelMissing",
                f"there is no accepted model in {storage.shown(folder)}: it has no {CARD}",
            )
        try:
            if path.stat().st_size > _CARD_BYTES:
                raise ValueError("it is too large")
            return cls.model_validate_json(path.read_bytes())
        except (ValidationError, ValueError) as error:
            raise StageFailure(
                "ModelCorrupt", f"{storage.shown(path)} is damaged or of another version"
            ) from error

    @property
    def name(self) -> str:
        """The folder's."""
        digests = self.model_digest, self.report.dataset_digest
        return folder_name(*digests, self.task, self.threshold)

    @property
    def rows(self) -> Rows:
        """As which dataset the model's rows are."""
        features = suitable.features(self.dataset, self.task)
        return Rows(Path(self.report.dataset_uri), self.dataset, "test", features)

    def outputs_as(self, variant: str | None) -> list[list[float]]:
        """What the model gave in that form, the model itself when None; empty: nobody knows.

        Raises StageFailure(VariantUnavailable)."""
        if variant is None:
            return self.outputs or []
        judged = self.report.variants or []
        if words := variants.unavailable(variant, judged):
            raise StageFailure("VariantUnavailable", words)
        return next(one.outputs or [] for one in judged if one.name == variant)

    def load(self, folder: Path, variant: str | None = None) -> sources.Runnable:
        """The model, in that form. Raises StageFailure(ModelMissing, ModelCorrupt)."""
        if variant is not None:
            return sources.variant(folder, variant, self.rows)
        if self.kind not in RUNNABLE:
            what = "what own code has judged"
            if self.kind == "predictions":
                what = "predictions of the training code"
            elif self.kind == TEXT_CLASSIFIER:
                what = "a classifier of texts, which is not served,"
            raise StageFailure(
                "ModelMissing",
                f"{storage.shown(folder)} has {what} and no model that can be run: leave "
                "model.onnx or model.pt2 beside it",
            )
        return sources.load(self.kind, folder, self.rows)


def outputs_of(batch: Batch) -> list[list[float]]:
    """Of each row the scores of the classes, or the one value."""
    found = batch.predicted[:, None] if batch.scores is None else batch.scores
    return np.asarray(found, dtype=np.float64).tolist()


def publish(payload: EvaluatePayload, report: MetricsFile, manifest: DatasetManifest) -> str:
    """Have the model in a folder of its own, unless it is there; its name. Raises StageFailure."""
    assert payload.accepted is not None
    model = storage.resolve(payload.model_uri)
    kind = find(model)
    if manifest.tokens is not None:
        kind = "transformer" if has_transformer(model) else None
    card = Card(
        job=payload.job,
        task=payload.task,
        threshold=payload.threshold,
        kind=kind or report.source,
        model_digest=report.model_digest,
        dataset=manifest.model_copy(update={"splits": {}, "folds": None}),
        report=report,
        gates=payload.gates,
    )
    target = storage.resolve(f"{payload.accepted}/{card.name}")
    with storage_errors("publish the accepted model"):
        names = storage.names(model)
        there = _is_there(target, model, names)
        if there and _proves(target, card):
            return card.name
    if kind == "transformer":
        card = card.model_copy(update={"texts": _texts(payload, model, manifest)})
    else:
        outputs = {"outputs": _outputs(card, model), "report": _proven(card, model)}
        card = card.model_copy(update=outputs)
    text = card.model_dump_json(by_alias=True, exclude_none=True) + "\n"
    with storage_errors("publish the accepted model"):
        if there:  # and may be served
            storage.write_file(target / CARD, text)
            return card.name
        with storage.write_aside(target) as aside:
            storage.copy(model, aside)
            (aside / CARD).write_text(text, encoding="utf-8")
    return card.name


def _proven(card: Card, model: Path) -> MetricsFile:
    """The report, with what the variants give that were not refused."""
    found = [
        one.model_copy(update={"outputs": _outputs(card, model, one.name)}) if one.accepted else one
        for one in card.report.variants or ()
    ]
    return card.report.model_copy(update={"variants": found or None})


def _outputs(card: Card, model: Path, variant: str | None = None) -> list[list[float]] | None:
    """What the model gives for the rows that the manifest shows, in that form. A model that nobody
    has judged, as the final one of a cross-validation, may be none that can be run."""
    raw = card.dataset.raw
    if raw is None or not raw.rows or card.kind not in RUNNABLE:
        return None
    with suppress(StageFailure, BadColumn, ValueError, TypeError):
        runnable = card.load(model, variant)
        features = features_of(raw, card.dataset, runnable)
        return outputs_of(runnable.batch(features, np.zeros(len(features))))
    return None


def _texts(payload: EvaluatePayload, model: Path, manifest: DatasetManifest) -> Texts | None:
    """None for a model that is judged by a gang or by own code, since it may be too large for this
    process."""
    from ..dataset.tokens import columns_of, tokens_of
    from ..model import transformer

    tokens = manifest.tokens
    assert tokens is not None
    if (payload.nodes or 1) * (payload.procs_per_node or 1) > 1 or payload.own_code:
        return None
    test = Rows(storage.resolve(payload.dataset), manifest, "test", [])
    path, batch = next(iter(test.batches(columns_of(tokens), _TEXTS)), (None, None))
    if path is None or batch is None:
        return None
    ids, targets = tokens_of(path, batch, tokens.sequence_length + 1, tokens.vocab_size)
    its, wanted = (
        ids[:_TEXTS, : _TEXT_TOKENS + 1].tolist(),
        targets[:_TEXTS, :_TEXT_TOKENS].tolist(),
    )
    with suppress(StageFailure):  # one that nobody has judged may be none
        network = transformer.load(model, tokens)
        return Texts(ids=its, targets=wanted, losses=transformer.losses(network, its, wanted))
    return None


def features_of(raw: RawRows, dataset: DatasetManifest, model: sources.Runnable) -> np.ndarray:
    """[n, d]: of the rows that a manifest shows, as the dataset has them. Raises BadColumn,
    ValueError."""
    columns = {}
    for at, name in enumerate(dataset.features):
        values = [row[at] for row in raw.features]
        is_text = dataset.columns[name] == "string"
        columns[name] = pa.array(values if is_text else np.array(values, dtype=np.float64))
    return model.encoding.matrix(model.features, columns)


def _is_there(target: Path, model: Path, names: Sequence[str]) -> bool:
    """Whether a run before this one, or another attempt, has published just these files. A folder
    that somebody was cut short in is not whole."""
    there = storage.sizes(target, [*names, CARD])
    return len(there) == len(names) + 1 and all(
        there[name] == (model / name).stat().st_size for name in names
    )


def _proves(target: Path, card: Card) -> bool:
    """Whether the card there has what proves each variant: that of an earlier version has not, nor
    that of a run that has refused one."""
    storage.bring(target, [CARD])
    with suppress(StageFailure):
        found = Card.read(target)
        known = {one.name for one in found.report.variants or () if one.accepted and one.outputs}
        wanted = {one.name for one in card.report.variants or () if one.accepted}
        raw = card.dataset.raw
        return found.name == card.name and (wanted <= known or raw is None or not raw.rows)
    return False


def sweep(payload: EvaluatePayload, recent: Sequence[str]) -> None:
    """Remove accepted models that are neither recent nor in use. Nothing hangs on it."""
    assert payload.accepted is not None
    folder = storage.resolve(payload.accepted)
    keep = {*recent, *(payload.in_use or ())}
    try:
        for entry in storage.entries(folder) or ():
            name = entry.rstrip("/")
            if entry.endswith("/") and _is_ours(name) and name not in keep:
                with suppress(FileNotFoundError):  # of what is remote this pod has no copy
                    storage.remove(folder / name)
    except (StageFailure, OSError) as error:
        log(f"an accepted model that is not needed any more is left: {error}")


def _is_ours(name: str) -> bool:
    """A folder of ``publish``, or what a writer that died has left of one."""
    return _OURS.fullmatch(name) is not None
