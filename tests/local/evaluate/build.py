"""Datasets, models and payloads for the tests of the evaluate stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from tests.datasets import write_dataset
from trainingjob.api.payload import EvaluatePayload, JobRef, StageResult
from trainingjob.api.v1alpha1 import Gate
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.evaluate import run


class World:
    """A storage folder with ``dataset/`` and ``model/``, and the stage over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = folder / "dataset"
        self.model = folder / "model"
        self.model.mkdir(exist_ok=True)
        self.label = "label"
        self.task = "classification"
        self.features: list[str] | None = None
        self.positive: Any = None
        self.threshold: float | None = None
        self.uid = "1"
        self.gates: list[Gate] = []

    def write(
        self, labels: Any, features: np.ndarray | None = None, **options: Any
    ) -> DatasetManifest:
        """A dataset whose test split has these labels (an arrow array or a list)."""
        if features is None:
            features = np.random.default_rng(0).normal(size=(len(labels), 3))
        columns = {f"x.{i}": features[:, i] for i in range(features.shape[1])}
        table = pa.table({**columns, self.label: labels})
        return write_dataset(
            self.dataset,
            {"train": options.pop("train", table), "test": table},
            label=self.label,
            task=self.task,
            **options,
        )

    def predictions(self, **columns: Any) -> None:
        """``predictions.parquet``."""
        pq.write_table(pa.table(columns), self.model / "predictions.parquet")

    def program(
        self, module: nn.Module, *example: torch.Tensor, batch: Any = torch.export.Dim.DYNAMIC
    ) -> Path:
        """``model.pt2`` by torch.export; ``batch`` None for a fixed batch size."""
        path = self.model / "model.pt2"
        shapes = None if batch is None else ({0: batch},)
        exported = torch.export.export(module.eval(), example, dynamic_shapes=shapes)
        torch.export.save(exported, path)
        return path

    def payload(self, *metrics: str) -> EvaluatePayload:
        """As the operator would build it."""
        return EvaluatePayload(
            job=JobRef(namespace="default", name="job", uid=self.uid),
            attempt=1,
            task=Task(
                type=self.task,
                label_column=self.label,
                features=self.features,
                positive_class=self.positive,
            ),
            threshold=self.threshold,
            metrics=list(metrics),
            dataset=f"file://{self.dataset}",
            model_uri=f"file://{self.model}",
            output=f"file://{self.folder / 'evaluation'}",
            gates=self.gates,
            accepted=f"file://{self.folder / 'accepted'}",
        )

    def run(self, *metrics: str) -> StageResult:
        """The stage."""
        return run(self.payload(*metrics))

    def values(self, *metrics: str) -> dict[str, float]:
        """All metrics of ``metrics.json``."""
        self.run(*metrics)
        return self.report()["metrics"]

    def report(self) -> dict[str, Any]:
        """``metrics.json``."""
        return json.loads((self.folder / "evaluation" / "metrics.json").read_text())

    def failure(self, *metrics: str) -> StageFailure:
        """How the stage fails; its message is one line."""
        with pytest.raises(StageFailure) as caught:
            self.run(*metrics)
        assert "\n" not in caught.value.message
        assert not (self.folder / "evaluation").exists()
        return caught.value


class Picked(nn.Module):
    """Gives some of its inputs: outputs are known without training."""

    def __init__(self, *columns: int, squeeze: bool = False) -> None:
        super().__init__()
        self.columns = list(columns)
        self.squeeze = squeeze

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, self.columns]
        return x.squeeze(1) if self.squeeze else x * 1.0
