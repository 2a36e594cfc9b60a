"""What a regression learns instead of the label, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..base.errors import StageFailure

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

    def learned(self, label: str, values: np.ndarray) -> np.ndarray:
        """As ``of``, of the label of this name. Raises StageFailure(SettingUnsuitable)."""
        least = self.above
        if least is not None and len(values) and not values.min() > least:
            raise StageFailure(
                "SettingUnsuitable",
                f"train.targetTransform is {self.transform}, which needs values above "
                f"{least:g}: the label {label} has {values.min():g}",
            )
        return self.of(values)

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
