"""Weights in the loss and what is learned of a label, against plain torch and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from tests.datasets import write_dataset
from trainingjob.runtime.model.mlp import load_model

from .gang import Job, mlp, succeed

ROWS, EPOCHS, RATE = 203, 7, 0.3


def imbalanced(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes of very different sizes, and weights of which many are 0."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, 4))
    y = np.digitize(x[:, 0] + rng.normal(size=ROWS), [0.8, 2])
    w = rng.integers(0, 4, ROWS) * 0.7
    table = pa.table({f"x{i}": x[:, i] for i in range(4)} | {"w": w, "label": y})
    write_dataset(
        folder / "dataset",
        {"train": table, "validation": table.slice(0, 50), "test": table.slice(0, 50)},
        label="label",
        task="classification",
        rows_per_file=90,
        rows_per_group=40,
    )
    return x, y, w


def spec(batch: int, **more: Any) -> dict[str, Any]:
    return {
        "model": mlp(hidden=[5]),
        "optimizer": {"sgd": {"learningRate": RATE}},
        "epochs": EPOCHS,
        "batchSize": batch,
        **more,
    }


def weights_of(job: Job) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(job.model / "model.safetensors")


def by_torch(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> dict[str, torch.Tensor]:
    """The same network by torch's own means, all rows in one batch."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    features, truth = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    weights = torch.tensor(w, dtype=torch.float32)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        losses = F.cross_entropy(net(features), truth, reduction="none")
        ((losses * weights).sum() / weights.sum()).backward()
        optimizer.step()
    return net.state_dict()


def close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


WEIGHTS = {
    "balanced": {"classWeights": "balanced", "sampleWeight": "w"},
    "a weight by class": {"classWeights": {"2": 9.0}, "sampleWeight": "w"},
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_the_weighted_mean_is_that_of_plain_torch(tmp_path, in_process, case: str) -> None:
    x, y, w = imbalanced(tmp_path)
    by_class = (
        compute_sample_weight("balanced", y) if case == "balanced" else np.where(y == 2, 9, 1)
    )
    job = Job(tmp_path, spec(1000, **WEIGHTS[case]))
    in_process(job)
    close(weights_of(job), by_torch(x, y, w * by_class))
    config = load_model(job.model).config
    assert config.features == ["x0", "x1", "x2", "x3"], "the weight is no feature"
    assert config.sample_weight == "w"


def test_two_processes_weigh_as_one_does(tmp_path, in_process) -> None:
    imbalanced(tmp_path / "one")
    imbalanced(tmp_path / "two")
    alone = Job(tmp_path / "one", spec(20, **WEIGHTS["balanced"]))
    in_process(alone)
    both = Job(tmp_path / "two", spec(20, procsPerNode=2, **WEIGHTS["balanced"]))
    result = succeed(both)
    close(weights_of(both), weights_of(alone))
    assert result.outputs.loss is not None


@pytest.mark.parametrize("transform", [None, "standardize", "log1p"])
def test_a_transformed_label_is_predicted_in_its_own_unit(tmp_path, in_process, transform) -> None:
    """A linear model learned to the end is scikit-learn's weighted least squares."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(150, 2))
    y = np.expm1(5 + 1.5 * x[:, 0] + 0.3 * rng.normal(size=150))
    w = rng.uniform(0, 2, 150)
    table = pa.table({"x0": x[:, 0], "x1": x[:, 1], "w": w, "label": y})
    write_dataset(
        tmp_path / "dataset",
        {"train": table, "validation": table, "test": table},
        label="label",
        task="regression",
    )
    job = Job(
        tmp_path,
        {
            "model": mlp(hidden=[]),
            "optimizer": {"adam": {"learningRate": 0.05}},
            "epochs": 400,
            "batchSize": 150,
            "sampleWeight": "w",
            **({"targetTransform": transform} if transform else {}),
        },
        task="regression",
    )
    in_process(job)
    model = load_model(job.model)
    expected = LinearRegression()
    if transform == "log1p":
        expected = TransformedTargetRegressor(expected, func=np.log1p, inverse_func=np.expm1)
    expected.fit(x, y, sample_weight=w)
    assert model.predict(x).numpy() == pytest.approx(expected.predict(x), rel=1e-3, abs=0.5)
    assert model.config.target_transform == (transform if transform == "log1p" else None)
