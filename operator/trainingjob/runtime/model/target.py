"""What the network of a regression learns instead of the label, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Transform = Literal["log1p"]
# There and back, and what the label must be above.
_TRANSFORMS: dict[
    Transform, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], float]
] = {"log1p": (np.log1p, np.expm1, -1.0)}


@dataclass(frozen=True)
class Target:
    """(transform(label) - mean) / std."""

    transform: Transform | None = None
    mean: float = 0.0
    std: float = 1.0

    @property
    def above(self) -> float | None:
        """What every label must be above."""
        return None if self.transform is None else _TRANSFORMS[self.transform][2]

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Labels float64 [n] to targets float64 [n]."""
        if self.transform is not None:
            labels = _TRANSFORMS[self.transform][0](labels)
        scaled: np.ndarray = (labels - self.mean) / self.std
        return scaled

    def back(self, targets: np.ndarray) -> np.ndarray:
        """Targets float64 [n] to values in the label's unit; infinite beyond float64."""
        values: np.ndarray = targets * self.std + self.mean
        if self.transform is not None:
            with np.errstate(over="ignore"):
                values = _TRANSFORMS[self.transform][1](values)
        return values
