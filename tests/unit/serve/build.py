"""Accepted models for the tests of servers, and what they give by scikit-learn and numpy alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.local.preprocess.both import payload as preprocess_payload
from trainingjob.api.payload import EvaluatePayload, JobRef, ServePayload
from trainingjob.api.v1alpha1.evaluate import Gate
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.train import Mlp
from trainingjob.runtime import evaluate, preprocess
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.model.mlp import ModelConfig, build, save_model

NUMBERS, CITIES = ["x", "Full size"], ["Rome", "Oslo", "Bern", "<b>東京</b>"]
STEPS: list[dict[str, Any]] = [
    {"fillna": {"strategy": "median", "columns": NUMBERS}},
    {"withColumn": {"name": "year", "expr": "year(day)"}},
    {"oneHot": {"columns": ["city"]}},
    {"scale": {"columns": [*NUMBERS, "year", "count"]}},
    {"drop": {"columns": ["day", "note"]}},
]
TASKS: dict[str, dict[str, Any]] = {
    "classification": {"type": "classification", "label": "kind"},
    "regression": {"type": "regression", "label": "y"},
}


def frame(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Raw rows: numbers with nulls, a category, a date, a boolean, and what is no feature."""
    chance = np.random.default_rng(seed)
    x = chance.lognormal(0, 1, rows)
    x[chance.random(rows) < 0.1] = np.nan
    days = pd.Timestamp("2001-03-04") + pd.to_timedelta(chance.integers(0, 9000, rows), "D")
    return pd.DataFrame(
        {
            "x": x,
            "Full size": chance.normal(0, 1e4, rows),
            "count": chance.integers(0, 50, rows),
            "city": chance.choice(CITIES, rows, p=[0.4, 0.3, 0.2, 0.1]),
            "day": days.date,
            "member": chance.random(rows) < 0.5,
            "note": [f"note {row}" for row in range(rows)],
            "part": chance.choice(["train", "validation", "test"], rows, p=[0.6, 0.1, 0.3]),
            "kind": chance.choice(["a", "b", "c"], rows),
            "y": chance.normal(5, 2, rows),
        }
    )


@dataclass
class Made:
    """An accepted model below ``folder``, of raw rows ``data``."""

    folder: Path
    data: pd.DataFrame
    manifest: DatasetManifest
    config: ModelConfig
    weights: dict[str, np.ndarray]
    digest: str
    sent: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> Path:
        """Its folder, by the record of the last one."""
        folder = self.folder / "accepted"
        return folder / json.loads((folder / "metrics.json").read_text())["recent"][0]

    def payload(self, **more: Any) -> ServePayload:
        return ServePayload(
            **{
                "model_uri": f"file://{self.accepted}",
                "digest": self.digest,
                "name": "digits",
                **more,
            }
        )

    def rows(self, split: str) -> pd.DataFrame:
        """Raw rows of a split."""
        return self.data[self.data["part"] == split]

    def expected(self, rows: pd.DataFrame) -> np.ndarray:
        """Probabilities [n, 3] or values [n] of raw rows, by scikit-learn and numpy."""
        prepared = ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                    [*NUMBERS, "year", "count"],
                ),
                ("city", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
                ("member", "passthrough", ["member"]),
            ],
            verbose_feature_names_out=False,
        )
        prepared.fit(_with_year(self.rows("train")))
        found = prepared.transform(_with_year(rows)).astype(float)
        names = [*prepared.get_feature_names_out()]
        x = found[:, [names.index(name) for name in self.config.features]]
        last = max(int(name.partition(".")[0]) for name in self.weights)
        for layer in range(0, last + 1, 2):
            x = x @ self.weights[f"{layer}.weight"].T + self.weights[f"{layer}.bias"]
            if layer < last:
                x = np.maximum(x, 0)
        if self.config.task == "regression":
            return x[:, 0] * self.config.target_std + self.config.target_mean
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def _with_year(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(year=pd.to_datetime(rows["day"]).dt.year)


def made(
    folder: Path, kind: str = "classification", data: pd.DataFrame | None = None, **more: Any
) -> Made:
    """Prepare raw rows, draw a model and let evaluation accept it, all by the stages' own code."""
    data = frame() if data is None else data
    other = "y" if kind == "classification" else "kind"
    source = folder / "data.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(data.drop(columns=other), preserve_index=False), source)
    task = TASKS[kind]
    preprocess.run(
        preprocess_payload(
            "pandas",
            source,
            folder / "dataset",
            STEPS,
            format="parquet",
            task=task,
            split={"column": "part"},
            numericFeatures=True,
        )
    )
    manifest = DatasetManifest.read(folder / "dataset")
    torch.manual_seed(3)
    config = ModelConfig(
        task=task["type"],
        label=task["label"],
        features=manifest.features,
        classes=manifest.classes,
        mlp=Mlp(hidden=[16]),
        target_mean=0.0 if kind == "classification" else 5.0,
        target_std=1.0 if kind == "classification" else 2.0,
        pipeline=manifest.pipeline,
    )
    network = build(config)
    (folder / "model").mkdir()
    save_model(folder / "model", config, network.state_dict())
    weights = {name: one.numpy().astype(float) for name, one in network.state_dict().items()}
    digest = accept(folder, kind, **more)
    return Made(folder, data, manifest, config, weights, digest)


def accept(
    folder: Path,
    kind: str,
    uid: str = "1",
    gates: Sequence[Any] = (),
    task: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    """The evaluate stage; the digest of the model."""
    metric = "accuracy" if kind == "classification" else "rmse"
    result = evaluate.run(
        EvaluatePayload(
            job=JobRef(namespace="team", name="digits", uid=uid),
            attempt=1,
            task=Task.model_validate(TASKS[kind] | (task or {})),
            metrics=[metric],
            dataset=f"file://{folder / 'dataset'}",
            model_uri=f"file://{folder / 'model'}",
            output=f"file://{folder / 'evaluation'}",
            accepted=f"file://{folder / 'accepted'}",
            gates=[Gate.model_validate(gate) for gate in gates],
            **more,
        )
    )
    assert result.model_digest is not None
    return result.model_digest


def request(rows: pd.DataFrame, columns: Sequence[str], **more: Any) -> dict[str, Any]:
    """A request about raw rows."""
    return {"inputs": [tensor(rows, name) for name in columns], **more}


DATATYPES = {"x": "FP64", "Full size": "FP64", "count": "INT64", "city": "BYTES", "day": "BYTES"}


def tensor(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    values = [None if pd.isna(v) else str(v) if name == "day" else v for v in rows[name].tolist()]
    datatype = DATATYPES.get(name, "BOOL")
    return {"name": name, "shape": [len(rows)], "datatype": datatype, "data": values}
