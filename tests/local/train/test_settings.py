"""What training is told to do, against loops by hand with torch's own parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from tests.local.train.gang import Job, mlp
from tests.local.train.problems import classification
from trainingjob.runtime.train.loop import Trainer

SPEC: dict[str, Any] = {
    "model": mlp(hidden=[7]),
    "optimizer": {"adam": {"learningRate": 0.05}},
    "epochs": 2,
    "batchSize": 20,
    "seed": 4,
}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[np.ndarray]]:
    """Batches, and all weights after the step of each."""
    batches: list[Any] = []
    weights: list[np.ndarray] = []
    given, follow = Trainer._batches, Trainer._follow

    def noted(self: Trainer) -> Iterator[Any]:
        for batch in given(self):
            batches.append(batch[:2])
            yield batch

    def after(self: Trainer, step: int) -> None:
        weights.append(flat(self.net.weights))
        follow(self, step)

    monkeypatch.setattr(Trainer, "_batches", noted)
    monkeypatch.setattr(Trainer, "_follow", after)
    return batches, weights


def flat(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat([one.detach().flatten() for one in tensors]).double().numpy()


def network() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))


def of_model(files: dict[str, bytes]) -> nn.Sequential:
    found = network()
    found.load_state_dict(load(files["model.safetensors"]))
    return found


def test_a_perceptron_in_parts_and_clipped_is_that_of_a_plain_loop(tmp_path, in_process, watched):
    classification(tmp_path)
    most = 0.35
    files = in_process(Job(tmp_path, SPEC | {"gradientClip": most, "gradientAccumulation": 3}))
    plain, norms = network(), []
    optimizer = torch.optim.Adam(plain.parameters(), 0.05)
    for x, y in watched[0]:
        optimizer.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        norms.append(float(nn.utils.clip_grad_norm_(plain.parameters(), most)))
        optimizer.step()
    assert min(norms) < most < max(norms)
    for one, other in zip(of_model(files).parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    last = json.loads(files["history.json"])[-1]
    assert last["gradient_norm"] == pytest.approx(norms[-1], rel=1e-4)


def test_the_average_is_the_model_and_what_is_validated(tmp_path, in_process, watched):
    """Its closed form: step k counts (1 - d_k) times the decays d after it."""
    classification(tmp_path)
    files = in_process(Job(tmp_path, SPEC | {"ema": 0.7}))
    steps = np.array([flat([*network().parameters()]), *watched[1]])
    number = np.arange(1, len(steps))
    decays = np.minimum(0.7, (1 + number) / (10 + number))
    after = np.append(np.cumprod(decays[::-1])[::-1], 1.0)
    expected = (after * np.append(1.0, 1 - decays)) @ steps
    model = of_model(files)
    np.testing.assert_allclose(flat([*model.parameters()]), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected - steps[-1]).max() > 0.01

    rows = pq.read_table(tmp_path / "dataset/validation").to_pandas()
    y = torch.tensor([ord(label) - ord("a") for label in rows.pop("label")])
    loss = F.cross_entropy(model(torch.tensor(rows.to_numpy(), dtype=torch.float32)), y)
    last = json.loads(files["history.json"])[-1]
    assert last["validation_loss"] == pytest.approx(loss.item(), rel=1e-5)
