"""The model of ``tests.unit.serve.build`` as people put it together by hand: pandas and
scikit-learn before the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trainingjob.runtime.model.mlp import load_model

_NUMBERS = ["x", "Full size", "year", "count"]


class Prepared:
    """Fitted on the training rows in ``folder``."""

    def __init__(self, folder: Path) -> None:
        data = pq.read_table(folder / "data.parquet").to_pandas()
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        self._steps = ColumnTransformer(
            [
                ("numbers", numbers, _NUMBERS),
                ("city", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
                ("member", "passthrough", ["member"]),
            ]
        )
        self._steps.fit(_with_year(data[data["part"] == "train"]))
        self._model = load_model(folder / "model")
        torch.set_num_threads(1)

    def predict(self, rows: pd.DataFrame) -> tuple[list[Any], np.ndarray]:
        """Classes, and probabilities [n, classes], of raw rows."""
        features = self._steps.transform(_with_year(rows)).astype("float32")
        scores = torch.softmax(self._model.predict(features), dim=1).numpy()
        classes = self._model.config.classes or []
        return [classes[at] for at in scores.argmax(axis=1)], scores


def _with_year(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(year=pd.to_datetime(rows["day"]).dt.year)
