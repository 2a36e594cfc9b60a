"""Metrics of regression, as scikit-learn defines them, from running sums."""

from __future__ import annotations

import math

import numpy as np

from ..dataset.moments import Moments
from .judgement import Batch, Judgement


class Regression:
    """Sums up errors."""

    def __init__(self) -> None:
        self._truth = Moments()
        self._absolute = 0.0
        self._square = 0.0
        self._relative = 0.0
        self._zeros = 0

    def add(self, batch: Batch) -> None:
        """Take some rows into account."""
        self._truth.add(batch.truth)
        with np.errstate(over="ignore"):
            errors = np.abs(batch.truth - batch.predicted)
            self._absolute += float(errors.sum())
            self._square += float(np.square(errors).sum())
            nonzero = batch.truth != 0
            self._zeros += int(len(nonzero) - nonzero.sum())
            # scikit-learn's guard against tiny denominators.
            eps = np.finfo(np.float64).eps
            self._relative += float(
                (errors[nonzero] / np.maximum(np.abs(batch.truth[nonzero]), eps)).sum()
            )

    def judge(self) -> Judgement:
        """The metrics of all rows so far."""
        judgement = Judgement()
        rows = self._truth.count
        judgement.metrics = {"mae": self._absolute / rows, "rmse": math.sqrt(self._square / rows)}
        if self._zeros:
            judgement.undefined["mape"] = f"the label is 0 in {self._zeros} rows of the test split"
        else:
            judgement.metrics["mape"] = self._relative / rows
        if self._truth.low == self._truth.high:
            judgement.undefined["r2"] = "the label is the same in all rows of the test split"
        else:
            judgement.metrics["r2"] = 1 - self._square / self._truth.squares
        for name, value in list(judgement.metrics.items()):
            if not math.isfinite(value):
                del judgement.metrics[name]
                judgement.undefined[name] = "the predictions are too large for a number"
        return judgement
