"""Metrics over folds: mean and sample standard deviation of those of their models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .report import MetricsFile


def across(
    folds: Sequence[MetricsFile],
    test: MetricsFile | None,
    about: MetricsFile,
) -> MetricsFile:
    """The report of a cross-validation: of the ``folds``, and of the final model on the ``test``
    split, if there is one. ``about`` has the rest: what was judged, and by what.

    A metric that is undefined in a fold has no mean. Deviations are those of a sample, over
    n - 1, of the n folds. The confusion matrix is the sum of the folds', if they have the same
    classes: every row is held out once."""
    names = [name for name in folds[0].metrics if all(name in report.metrics for report in folds)]
    values = {name: np.array([report.metrics[name] for report in folds]) for name in names}
    undefined = {
        name: f"fold {number}: {why}"
        for number, report in reversed([*enumerate(folds, 1)])
        for name, why in report.undefined.items()
    }
    matrices = [report.confusion_matrix for report in folds if report.classes == about.classes]
    known = [matrix for matrix in matrices if matrix is not None]
    matrix = np.sum(known, axis=0).tolist() if len(known) == len(folds) else None
    return about.model_copy(
        update={
            "samples": sum(report.samples for report in folds),
            "metrics": {name: float(value.mean()) for name, value in values.items()},
            "deviation": {name: float(value.std(ddof=1)) for name, value in values.items()},
            "undefined": undefined,
            "confusion_matrix": matrix,
            "per_class": None,
            "folds": [report.scores for report in folds],
            "test": test and test.scores,
        }
    )
