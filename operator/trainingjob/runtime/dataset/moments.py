"""Moments of a stream of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Moments:
    """Count, mean, sum of squared deviations and range of a stream of numbers."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        """Take values into account; the update of Chan, Golub and LeVeque (1979)."""
        count = self.count + len(values)
        mean = float(values.mean())
        shift = mean - self.mean
        self.squares += float(np.square(values - mean).sum())
        self.squares += shift * shift * self.count * len(values) / count
        self.mean += shift * len(values) / count
        self.count = count
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.squares / self.count)

    def near(self, other: Moments, tolerance: float) -> bool:
        """Whether both may be of the same numbers, rounded or transformed and back."""
        scale = max(self.deviation, other.deviation, 1e-3 * abs(self.mean))
        return self.count == other.count and all(
            abs(mine - theirs) <= tolerance * scale
            for mine, theirs in (
                (self.mean, other.mean),
                (self.deviation, other.deviation),
                (self.low, other.low),
                (self.high, other.high),
            )
        )
