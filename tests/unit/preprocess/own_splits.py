"""Runs of the stage with a split of one's own on engine pandas: what tests of its kinds share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.local.preprocess.both import payload
from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import SPLITS

CLASSES = {"type": "classification", "label": "y"}
HELD_OUT = ("test", "validation")


class Made:
    """What a run on engine pandas made: tables by split, warnings, and the line about the split."""

    def __init__(self, source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> None:
        output = Path(f"{source}-made")
        more = {"task": CLASSES} | more
        outputs = preprocess.run(
            payload("pandas", source, output, steps, split=split, **more)
        ).outputs
        self.tables = {
            name: pd.concat(
                [pd.read_parquet(p) for p in sorted((output / name).glob("*"))] or [pd.DataFrame()]
            )
            for name in SPLITS
        }
        self.warnings = [(w.reason, w.message) for w in outputs.warnings or ()]
        lines = [line for line in outputs.account or () if line.startswith("split ")]
        self.line = lines[0] if lines else ""

    @property
    def where(self) -> dict[int, str]:
        """The split of each id."""
        return {i: name for name, table in self.tables.items() if len(table) for i in table["id"]}

    def reasons(self, *of: str) -> list[str]:
        return [reason for reason, _ in self.warnings if reason in of]


def refused(source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(StageFailure) as caught:
        Made(source, split, *steps, **more)
    return caught.value.reason, caught.value.message


def written(folder: Path, frame: pd.DataFrame, name: str = "data.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path


def visits(rows: int = 1200, patients: int = 90) -> pd.DataFrame:
    """Patients of different numbers of visits; what is wrong with them is the same each time."""
    rng = np.random.default_rng(5)
    patient = rng.choice(patients, rows, p=rng.dirichlet(np.ones(patients) * 2))
    ill = rng.random(patients) < 0.3
    return pd.DataFrame(
        {
            "id": range(rows),
            "patient": patient,
            "clinic": np.array(["north", "south"])[patient % 2],
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 200, rows), "D"),
            "x": rng.normal(size=rows).round(2),
            "y": np.where(ill[patient] & (rng.random(rows) < 0.9), "ill", "well"),
        }
    )
