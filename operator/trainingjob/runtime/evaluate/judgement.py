"""What a stream of predictions is turned into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Truth and predictions of some rows.

    Classification: class ids (int64 [n]) and, if known, scores (float64 [n, classes]).
    Regression: values (float64 [n]).
    """

    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray | None = None


@dataclass
class Judgement:
    """Metrics by name, and why the others are undefined."""

    metrics: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    confusion: np.ndarray | None = None
    per_class: list[dict[str, float | None]] | None = None


class Judge(Protocol):
    """Takes batches in any number and any order; what it keeps in memory does not grow."""

    def add(self, batch: Batch) -> None:
        """Take some rows into account."""

    def judge(self) -> Judgement:
        """The metrics of all rows so far."""
