"""train.sampleWeight through the stage: a column that is kept as it is, and that is no feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .features import failure, prepared

DATA = pd.DataFrame(
    {
        "id": [f"r{row:03}" for row in range(80)],
        "x": np.arange(80) * 1.5,
        "w": np.arange(80) % 4 + 0.25,
        "y": np.arange(80) * 2.0,
    }
)
# No step takes the weight that does not name it.
STEPS: dict[str, list[dict[str, Any]]] = {
    "scale": [{"scale": {"method": "standard"}}],
    "fillna": [{"fillna": {"strategy": "mean"}}],
    "by type": [{"select": {"types": ["string", "double"]}}],
    "by pattern": [{"clip": {"columns": ["w*", "x*"], "max": 0.1}}],
    "select by pattern": [{"select": {"columns": ["x*", "id"]}}],
}


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("features", [None, ["id", "x"]], ids=["all features", "some"])
def test_the_weight_stays_as_it_is_and_is_no_feature(
    tmp_path: Path, case: str, features: list[str] | None
) -> None:
    task = {"type": "regression", "label": "y"} | ({"features": features} if features else {})
    manifest, parts = prepared(DATA, STEPS[case], tmp_path, sampleWeight="w", task=task)
    assert sorted(manifest.features) == ["id", "x"]
    assert manifest.columns["w"] == "double"
    merged = pd.concat(parts.values()).sort_values("id")
    assert merged["w"].tolist() == DATA["w"].tolist()


def test_a_weight_that_is_no_column_is_named(tmp_path: Path) -> None:
    found = failure(DATA, [], tmp_path, sampleWeight="weight")
    assert found.startswith("ColumnNotFound: train.sampleWeight: there is no column weight")
