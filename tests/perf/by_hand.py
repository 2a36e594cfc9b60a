"""A server as people write it by hand: FastAPI, pandas and scikit-learn before the same network.

``python -m tests.perf.by_hand FOLDER PORT``; it needs fastapi and uvicorn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch
import uvicorn
from fastapi import FastAPI
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trainingjob.runtime.model.mlp import load_model

NUMBERS = ["x", "Full size", "year", "count"]


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    data = pq.read_table(folder / "data.parquet").to_pandas()
    prepared = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("city", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
            ("member", "passthrough", ["member"]),
        ]
    )
    prepared.fit(_with_year(data[data["part"] == "train"]))
    model = load_model(folder / "model")
    torch.set_num_threads(1)
    app = FastAPI()

    def predict(asked: dict[str, Any]) -> dict[str, Any]:
        rows = prepared.transform(_with_year(pd.DataFrame(asked["rows"])))
        scores = torch.softmax(model.predict(rows.astype("float32")), dim=1).numpy()
        classes = model.config.classes or []
        return {
            "prediction": [classes[at] for at in scores.argmax(axis=1)],
            "probabilities": scores.tolist(),
        }

    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def _with_year(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(year=pd.to_datetime(rows["day"]).dt.year)


if __name__ == "__main__":
    main()
