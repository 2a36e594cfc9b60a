"""The model with its pipeline, and the proof that together they give what was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainingjob.api.accepted import short
from trainingjob.api.payload import ServePayload
from trainingjob.api.v1alpha1.input import ColumnType

from .. import storage
from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..dataset import suitable
from ..dataset.columns import BadColumn
from ..dataset.manifest import RawRows
from ..evaluate.judgement import Batch
from ..evaluate.publication import CARD, Card, outputs_of
from ..evaluate.sources import Runnable
from ..model import accepted
from ..preprocess.fitted import Pipeline
from ..preprocess.fitted.columns import ARROW, Columns, value_of
from .language import TOLERANCE, Language

# A step of 8 bits: where another processor rounds the other way, an output is off by some.
_TOLERANCES = {"int8": 1e-2}


class BadRow(Exception):
    """What is wrong with a row that was sent, in words for whoever sent it."""


@dataclass(frozen=True)
class Answers:
    """Of some rows: the predicted classes or values, and the scores of classes, float64 [n, k]."""

    predicted: np.ndarray
    scores: np.ndarray | None

    def part(self, start: int, stop: int) -> Answers:
        """Of some of them."""
        scores = None if self.scores is None else self.scores[start:stop]
        return Answers(self.predicted[start:stop], scores)


class Served:
    """A loaded model, in the form ``variant`` or as it is. ``inputs``: the raw columns that
    a row must have; ``ignored``: those that it may have, since the training data had them."""

    def __init__(self, folder: Path, card: Card, raw: RawRows, variant: str | None = None) -> None:
        self.folder, self.card, self._raw, self.variant = folder, card, raw, variant
        dataset = card.dataset
        # First: of a variant that must not be used nothing is loaded.
        self._judged = card.outputs_as(variant)
        self._model: Runnable = card.load(folder, variant)
        self._pipeline = Pipeline(
            raw.columns, dataset.pipeline, self._model.features, dataset.label, raw.begin
        )
        self.inputs: dict[str, ColumnType] = self._pipeline.needed
        self.ignored = frozenset(raw.columns) - frozenset(self.inputs)
        self.classes: Sequence[Any] | None = dataset.classes
        self._positive = suitable.positive(dataset, card.task, (), card.threshold)

    @property
    def version(self) -> str:
        """Of the model in its form, as requests may name it."""
        return self.card.name + (f"-{self.variant}" if self.variant is not None else "")

    def answers(self, columns: Columns) -> Answers:
        """Predictions for rows. Raises BadRow, whose message names the feature."""
        batch = self._batch(columns)
        predicted = batch.predicted
        if self.classes is not None:
            threshold, positive = self.card.threshold, self._positive
            if threshold is not None and positive is not None and batch.scores is not None:
                taken = batch.scores[:, positive] >= threshold
                predicted = np.where(taken, positive, 1 - positive)
        return Answers(predicted, batch.scores)

    def gaps(self, columns: Columns) -> dict[int, str]:
        """Rows, from 0, of which the model makes nothing since a feature of theirs is null, with
        what ``answers`` says of each alone; none where it does not come to that."""
        if self._model.encoding.categories is not None:  # it takes nulls
            return {}
        try:
            found = self._pipeline.run(columns)
        except StageFailure:
            return {}
        gaps: dict[int, str] = {}
        for name in self._model.features:
            for row in np.flatnonzero(found[name].is_null().to_numpy(zero_copy_only=False)):
                gaps.setdefault(int(row), f"feature {name} has 1 nulls, and needs values")
        return gaps

    def _batch(self, columns: Columns) -> Batch:
        try:
            found = self._pipeline.run(columns)
            features = self._model.encoding.matrix(self._model.features, found)
        except StageFailure as failure:
            raise BadRow(failure.message) from failure
        except BadColumn as error:
            raise BadRow(f"feature {error}, and needs values") from error
        try:
            return self._model.batch(features, np.empty(0))
        except StageFailure as failure:
            raise BadRow(f"of these values the model makes no number: {failure.message}") from None

    def prove(self, tolerance: float | None = None, rows: int | None = None) -> int:
        """Run the rows that evaluation has kept, and compare the first of them; how many these are.

        Raises StageFailure(SelfTestFailed) unless each output is as it was judged, but for
        ``tolerance`` times the greater of 1 and its size; 1e-4 when unset, of int8 1e-2."""
        if tolerance is None:
            tolerance = _TOLERANCES.get(self.variant or "", TOLERANCE)
        judged = self._judged[:rows]
        if not judged:
            raise StageFailure(
                "SelfTestFailed",
                f"{storage.shown(self.folder)} has no rows with the outputs that were judged"
                + (f" of variant {self.variant}" if self.variant is not None else ""),
            )
        # All at once, as they were judged: weights of 8 bits give a row what the batch makes of it.
        columns = columns_of(self._raw, len(self._judged), self.inputs)
        try:
            given = np.array(outputs_of(self._batch(columns)))[: len(judged)]
        except BadRow as error:
            raise StageFailure("SelfTestFailed", f"rows of the evaluation: {error}") from error
        wanted = np.array(judged)
        if given.shape != wanted.shape:
            raise StageFailure(
                "SelfTestFailed",
                f"the model gives {given.shape[1]} outputs for a row, and {wanted.shape[1]} were "
                "judged",
            )
        off = np.abs(given - wanted) / np.maximum(1.0, np.abs(wanted))
        wrong = np.flatnonzero((off > tolerance).any(axis=1))
        if len(wrong):
            row = wrong[0]
            at = int(off[row].argmax())
            what = "" if self.classes is None else f" for class {self.classes[at]}"
            raise StageFailure(
                "SelfTestFailed",
                f"{len(wrong)} of {len(judged)} rows of the evaluation have other outputs now: row "
                f"{row + 1} gives {given[row][at]:.6g}{what}, and {wanted[row][at]:.6g} was judged",
            )
        return len(judged)

    def close(self) -> None:
        """Let go of what it holds."""
        self._pipeline.close()


def columns_of(raw: RawRows, rows: int, names: dict[str, ColumnType]) -> Columns:
    """The first of the rows that a manifest shows."""
    at = {name: place for place, name in enumerate(raw.needed)}
    return {
        name: pa.array([value_of(row[at[name]], kind) for row in raw.rows[:rows]], type=ARROW[kind])
        for name, kind in names.items()
    }


def load(payload: ServePayload) -> Served:
    """As ``any_model``, of raw columns alone."""
    found = any_model(payload)
    if isinstance(found, Language):
        raise StageFailure(
            "ModelMissing", f"{payload.name} is a language model: `trainingjob generate` asks it"
        )
    return found


def any_model(payload: ServePayload) -> Served | Language:
    """The model that the payload names, once its files are those that were judged.

    Raises StageFailure: ModelMissing, ModelCorrupt, VariantUnavailable, BaselineInvalid, and those
    of the storage."""
    uri, digest = payload.model_uri, payload.digest
    if digest is None:
        record = accepted.read(uri)
        if record is None or not record.recent:
            raise StageFailure("ModelMissing", f"no model was accepted yet: nothing is at {uri}")
        digest = record.model_digest
        uri = f"{uri}/{record.recent[0]}"
    folder = storage.fetch(uri)
    with storage_errors("read the model"):
        card = Card.read(folder)
        found = digest_of_folder(folder, but=CARD)
    for what, other in (("are", found), ("were judged", card.model_digest)):
        if other != digest:
            raise StageFailure(
                "ModelCorrupt",
                f"the files of {uri} {what} {short(other)}…, and "
                f"{short(digest)}… is to be served: they were changed, or lost in part",
            )
    if card.kind == "transformer":
        card.outputs_as(payload.variant)  # it has none
        return Language(folder, card)
    if card.dataset.raw is None:
        raise StageFailure(
            "ModelMissing",
            f"{uri} does not say what raw rows are like: its dataset was prepared by an earlier "
            "version, or has texts",
        )
    return Served(folder, card, card.dataset.raw, payload.variant)
