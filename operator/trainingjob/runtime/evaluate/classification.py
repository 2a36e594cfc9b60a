"""Metrics of classification.

All that follow from the confusion matrix come from scikit-learn's functions, which get each cell
of the matrix once, weighted by its count: the same values as from the rows, whatever their number.
"""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np

from trainingjob.api.v1alpha1.evaluate import BINARY_METRICS

from ..base.errors import StageFailure
from ..base.imports import without
from ..dataset.labels import Classes
from .judgement import Batch, Judgement
from .scores import ScoreFile, area_under_roc, average_precision

# A third of what scikit-learn takes to import is pandas, of which it has no use here.
with without("pandas"):
    from sklearn.metrics import (
        accuracy_score,
        balanced_accuracy_score,
        precision_recall_fscore_support,
    )

# Larger matrices are for nobody's eyes.
_LARGEST_MATRIX = 1000
# How far the scores of a row may be from a sum of 1: files have rounded numbers.
_SUM_TOLERANCE = 1e-3
# scikit-learn's log_loss clips float64 probabilities here.
_EPSILON = float(np.finfo(np.float64).eps)


class Classification:
    """Counts cells of the confusion matrix; scores go to ``score_file``, unless it is None.

    ``positive``: the id of the positive one of two classes, None when there are more. A row whose
    score of it is at least ``threshold`` is taken for it, when that is set.
    """

    def __init__(
        self,
        classes: Classes,
        score_file: ScoreFile | None,
        positive: int | None = None,
        threshold: float | None = None,
    ) -> None:
        self._classes = classes
        self._positive = positive
        self._threshold = threshold
        self._cells: Counter[int] = Counter()
        self._score_file = score_file
        self._log_loss = 0.0
        self._no_scores = ""
        self._no_probabilities = ""

    def add(self, batch: Batch) -> None:
        """Take some rows into account. Raises StageFailure(PredictionsInvalid)."""
        size = len(self._classes)
        predicted = self._decided(batch)
        cells, counts = np.unique(batch.truth * size + predicted, return_counts=True)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
            self._cells[cell] += count
        if batch.scores is None:
            self._no_scores = "there are no scores of the classes"
            return
        if self._score_file is not None:
            # Of two classes, the scores of the positive one say all.
            one = self._positive
            kept = batch.scores if one is None else batch.scores[:, one : one + 1]
            self._score_file.append(batch.truth, kept)
        self._add_log_loss(batch.truth, batch.scores)

    def judge(self) -> Judgement:
        """The metrics of all rows so far."""
        size = len(self._classes)
        cells = np.array(sorted(self._cells))
        counts = np.array([self._cells[cell] for cell in cells.tolist()], dtype=np.float64)
        truth, predicted = cells // size, cells % size
        judgement = Judgement()
        metrics = judgement.metrics
        with warnings.catch_warnings():
            # Classes that are predicted but not there: known, and told in the table.
            warnings.simplefilter("ignore", UserWarning)
            metrics["accuracy"] = accuracy_score(truth, predicted, sample_weight=counts)
            metrics["balanced_accuracy"] = balanced_accuracy_score(
                truth, predicted, sample_weight=counts
            )
        for average in ("micro", "macro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth, predicted, average=average, sample_weight=counts, zero_division=0
            )
            metrics[f"precision_{average}"] = precision
            metrics[f"recall_{average}"] = recall
            metrics[f"f1_{average}"] = f1
        judgement.metrics = {name: float(value) for name, value in metrics.items()}
        judgement.per_class = _per_class(truth, predicted, counts, size)
        if size <= _LARGEST_MATRIX:
            judgement.confusion = np.zeros((size, size), dtype=np.int64)
            judgement.confusion[truth, predicted] = counts
        if self._positive is not None:
            self._judge_positive(judgement, judgement.per_class[self._positive])
        else:
            for name in BINARY_METRICS:
                judgement.undefined[name] = f"the label has {size} classes, and not two"
        self._judge_scores(judgement, [row["support"] or 0 for row in judgement.per_class])
        return judgement

    def _decided(self, batch: Batch) -> np.ndarray:
        if self._threshold is None or self._positive is None:
            return batch.predicted
        if batch.scores is None:
            raise StageFailure(
                "PredictionsInvalid",
                "evaluate.threshold decides by scores, and there are none: "
                f"write y_score_{self._classes.values[self._positive]}, or unset it",
            )
        taken = batch.scores[:, self._positive] >= self._threshold
        return np.where(taken, self._positive, 1 - self._positive)

    def _judge_positive(self, judgement: Judgement, row: dict[str, float | None]) -> None:
        """Of the positive class alone; ``row`` is its own in the table."""
        # As scikit-learn has it: 0 when nothing was taken for the class.
        judgement.metrics["precision"] = row["precision"] or 0.0
        if row["support"]:
            judgement.metrics["recall"] = row["recall"] or 0.0
            judgement.metrics["f1"] = row["f1"] or 0.0
            return
        assert self._positive is not None
        name = self._classes.values[self._positive]
        for metric in ("recall", "f1", "average_precision"):
            judgement.undefined[metric] = f"the test split has no row of the positive class, {name}"

    def _add_log_loss(self, truth: np.ndarray, scores: np.ndarray) -> None:
        if self._no_probabilities:
            return
        if scores.min() < 0 or scores.max() > 1:
            self._no_probabilities = "scores are not between 0 and 1"
        elif np.abs(scores.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
            self._no_probabilities = "the scores of a row do not sum to 1"
        else:
            own = np.clip(scores[np.arange(len(truth)), truth], _EPSILON, 1 - _EPSILON)
            self._log_loss -= float(np.log(own).sum())

    def _judge_scores(self, judgement: Judgement, support: list[float]) -> None:
        why = self._no_scores or self._no_probabilities
        if why:
            judgement.undefined["log_loss"] = why
        else:
            judgement.metrics["log_loss"] = self._log_loss / self._cells.total()
        size = len(self._classes)
        present = [i for i in range(size) if support[i]]
        missing = [str(self._classes.values[i]) for i in range(size) if not support[i]]
        unscored = self._no_scores
        if self._score_file is None:
            unscored = unscored or "too many rows and classes to compute it unasked"
        lacking = f"the test split has no row of class {', '.join(missing[:5])}"
        # One against the rest compares rows with each other: scores need one scale.
        unscaled = self._no_probabilities if size > 2 else ""
        no_area = self._no_scores or (lacking if len(present) < 2 else "") or unscaled or unscored
        if no_area:
            judgement.undefined["roc_auc"] = no_area
        if self._positive is not None and unscored:
            judgement.undefined.setdefault("average_precision", unscored)
        if self._score_file is None or unscored:
            return
        if self._positive is not None:
            scores = self._score_file.column(0, self._positive)
            if not no_area:
                judgement.metrics["roc_auc"] = area_under_roc(*scores)
            if support[self._positive]:
                judgement.metrics["average_precision"] = average_precision(*scores)
        elif not no_area:
            # A class that the split lacks has no area, as with scikit-learn's average=None; the
            # mean is that of the others.
            areas = [area_under_roc(*self._score_file.column(i, i)) for i in present]
            judgement.metrics["roc_auc"] = float(np.mean(areas))


def _per_class(
    truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray, size: int
) -> list[dict[str, float | None]]:
    """A row a class; None where the denominator is zero."""
    table = precision_recall_fscore_support(
        truth,
        predicted,
        labels=np.arange(size),
        average=None,
        sample_weight=counts,
        zero_division=np.nan,
    )
    names = ("precision", "recall", "f1", "support")
    return [
        {name: None if np.isnan(x) else float(x) for name, x in zip(names, row, strict=True)}
        for row in np.stack(table, axis=1).tolist()
    ]
