"""Gangs train a language model wherever its weights lie, and learn what one process learns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.local.train.language import BEST, history, payload_of
from tests.local.train.problems import classification
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.model import transformer
from trainingjob.runtime.train import worker
from trainingjob.runtime.train.budget import rate_factor
from trainingjob.runtime.train.data import mix
from trainingjob.runtime.train.tokens import TokenSplit

ROOT = Path(__file__).parents[3]
PERCEPTRON = {
    "task": {"type": "classification", "label": "label"},
    "model": {"mlp": {"hidden": [16, 9]}},
    "batchSize": 41,
    "gradientAccumulation": 3,
    "gradientClip": 0.2,
}


@pytest.fixture(scope="module")
def gangs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of what several gangs left."""
    base = tmp_path_factory.mktemp("gangs")
    scenarios: list[dict[str, Any]] = [
        {"name": "whole", "world": 2},
        {"name": "alone", "world": 1, "after": "whole"},
        {"name": "three", "world": 3, "after": "whole", "damaged": True},
        {"name": "stopped", "world": 2, "stop": 1},
        {"name": "stopped", "world": 2},
    ]
    return run_gangs(base, dataset, scenarios)


@pytest.fixture(scope="module")
def ways(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same of gangs whose weights lie otherwise on the ranks."""
    base = tmp_path_factory.mktemp("ways")
    classification(base)
    again = {"activationCheckpointing": True, "gradientAccumulation": 2}
    on_nodes = {"sharding": "hybrid", "nodes": 2, "procsPerNode": 2}
    divided = PERCEPTRON | {"sharding": "full", "dataset": f"file://{base}/dataset"}
    scenarios: list[dict[str, Any]] = [
        {"name": "replicas", "world": 2, "train": {"sharding": "none", **again}},
        # From the checkpoints of replicas.
        {"name": "hybrid", "world": 4, "here": 2, "after": "replicas", "train": on_nodes | again},
        {"name": "perceptron", "world": 2, "train": divided},
        {"name": "best", "world": 2, "train": BEST},
        {"name": "averaged", "world": 2, "train": {"ema": 0.5}},
    ]
    return run_gangs(base, dataset, scenarios)


def run_gangs(
    base: Path, dataset: Path, scenarios: list[dict[str, Any]], seconds: float = 280
) -> dict[str, Path]:
    """Folders by the names of the scenarios."""
    every = {"checkpoint": {"everySteps": 2, "keep": 9}}
    for scenario in scenarios:
        folder = base / scenario["name"]
        folder.mkdir(exist_ok=True)
        scenario["train"] = every | scenario.get("train", {})
        scenario |= {"folder": str(folder), "dataset": str(dataset)}
    told = base / "scenarios.json"
    told.write_text(json.dumps(scenarios))
    done = subprocess.run(
        [sys.executable, "-m", "tests.local.train.language", str(told)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    return {scenario["name"]: Path(scenario["folder"]) for scenario in scenarios}


def by_hand(dataset: Path) -> list[float]:
    """The mean loss of each epoch, as a loop in a notebook computes it: transformers' own model and
    loss, row by row."""
    manifest = DatasetManifest.read(dataset)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:
                assert name.endswith("norm.weight")
                assert (parameter == 1).all()
                continue
            generator = torch.Generator().manual_seed(mix(3, transformer.zlib.crc32(name.encode())))
            parameter.normal_(0.0, 0.02, generator=generator)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01, weight_decay=0.1)
    data = TokenSplit(Rows(dataset, manifest, "train", []), 50)
    schedule = worker.TrainPayload.model_validate_json(
        json.dumps(payload_of(dataset, dataset).to_dict())
    ).schedule
    losses, step = [], 0
    for epoch in range(2):
        total, tokens = 0.0, 0
        for ids, targets, _, _ in data.batches(3, epoch, 0, 1):
            lengths = (targets >= 0).sum(1) + 1
            summed = torch.zeros(())
            for row, length in zip(ids.long(), lengths.tolist(), strict=True):
                labels = row[None, :length]
                summed = summed + network(labels, labels=labels).loss * (length - 1)
            count = int((lengths - 1).sum())
            optimizer.zero_grad()
            (summed / count).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.param_groups[0]["lr"] = 0.01 * rate_factor(
                schedule, step, 2 * data.steps, epoch
            )
            optimizer.step()
            step, total, tokens = step + 1, total + summed.item(), tokens + count
        losses.append(total / tokens)
    return losses


def test_losses_are_those_of_a_plain_loop_and_parts_change_nothing(
    dataset: Path, model: Path, trained: Callable[..., Path], gangs: dict[str, Path]
) -> None:
    expected = by_hand(dataset)
    in_parts = trained(gradientAccumulation=7)
    for folder in (model.parent, in_parts, gangs["whole"]):
        assert [row["loss"] for row in history(folder)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["alone", "three", "stopped"])
def test_a_run_goes_on_with_another_number_of_ranks(gangs: dict[str, Path], name: str) -> None:
    rows, others = history(gangs["whole"]), history(gangs[name])
    for row, other in zip(rows, others, strict=True):
        assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-5)
    weights, found = (load_file(gangs[one] / "model/model.safetensors") for one in ("whole", name))
    assert weights.keys() == found.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4)


def test_wherever_weights_lie_it_learns_the_same(model: Path, ways: dict[str, Path]) -> None:
    """Copies on each rank, from whose checkpoints go on halves on each of two nodes."""
    for name in ("replicas", "hybrid"):
        for row, other in zip(history(model.parent), history(ways[name]), strict=True):
            assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-4), name
    files = {path.name for path in (ways["hybrid"] / "checkpoints").glob("*/part-*")}
    assert "part-00001-of-00002.safetensors" in files


@pytest.mark.parametrize(("name", "settings"), [("best", BEST), ("averaged", {"ema": 0.5})])
def test_what_two_ranks_keep_beside_the_newest_weights_is_what_one_keeps(
    ways: dict[str, Path], trained: Callable[..., Path], name: str, settings: dict[str, Any]
) -> None:
    """All of it: validation leaves the outermost weights whole on each rank."""
    alone = load_file(trained(**settings) / "model/model.safetensors")
    for key, tensor in load_file(ways[name] / "model/model.safetensors").items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-4, msg=key)


def test_a_perceptron_that_is_divided_learns_the_same(
    ways: dict[str, Path], trained: Callable[..., Path]
) -> None:
    divided = ways["perceptron"]
    alone = trained(**PERCEPTRON, dataset=f"file://{divided.parent}/dataset")
    for row, other in zip(history(alone), history(divided), strict=True):
        assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-4)
    assert len(list((divided / "checkpoints").glob("*/part-00001-of-00002*"))) > 1


def test_a_gang_that_is_asked_to_stop_saves(gangs: dict[str, Path]) -> None:
    """The second run of the same folder has overwritten what the ranks said."""
    saved = sorted(path.name for path in (gangs["stopped"] / "checkpoints").glob("step-*"))
    assert "step-000000002" in saved
    for folder in (gangs["stopped"] / "checkpoints").glob("step-*"):
        names = sorted(path.name for path in folder.iterdir())
        assert names == [
            "part-00000-of-00002.safetensors",
            "part-00001-of-00002.safetensors",
            "state.json",
        ]


def test_ranks_hold_a_share_each(gangs: dict[str, Path]) -> None:
    folder = max((gangs["three"] / "checkpoints").glob("step-*"))
    sizes = [path.stat().st_size for path in sorted(folder.glob("part-*"))]
    weights = (gangs["three"] / "model/model.safetensors").stat().st_size
    assert len(sizes) == 3
    # Weights and two moments, divided; the rest is names and rounding.
    assert max(sizes) < 3 * weights / 3 * 1.25
