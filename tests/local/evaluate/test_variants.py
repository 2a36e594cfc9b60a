"""A network in other forms gives what torch gives, and is judged on the same rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import accuracy_score

from trainingjob.api.payload import StageResult
from trainingjob.api.v1alpha1.export import Export
from trainingjob.api.v1alpha1.train import Mlp
from trainingjob.runtime.evaluate import run
from trainingjob.runtime.evaluate.onnx import OnnxModel
from trainingjob.runtime.model.export import write_variants
from trainingjob.runtime.model.mlp import BuiltIn, ModelConfig, build, save_model

from .build import World

BOTH = Export.model_validate({"formats": ["onnx"], "quantize": {"int8": {"maxDrop": 0.2}}})
ROWS, WIDTH = 300, 20


def saved(world: World, labels: Any, export: Export = BOTH, **fields: Any) -> BuiltIn:
    features = np.random.default_rng(1).normal(size=(ROWS, WIDTH))
    manifest = world.write(labels, features)
    config = ModelConfig(
        task=manifest.task,
        label=manifest.label,
        features=manifest.features,
        classes=manifest.classes,
        **{"mlp": Mlp(hidden=[32, 32]), **fields},
    )
    torch.manual_seed(2)
    network = build(config)
    weights = network.state_dict()
    save_model(world.model, config, weights)
    arrays = {name: one.numpy() for name, one in weights.items()}
    write_variants(world.model, config, arrays, export)
    return BuiltIn(config, network)


def judged(world: World, export: Export, *metrics: str) -> StageResult:
    return run(world.payload(*metrics).model_copy(update={"export": export}))


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "a linear model": ("classification", {"mlp": Mlp(hidden=[])}),
    **{
        f"{name}, with dropout": (
            "classification",
            {"mlp": Mlp(hidden=[32, 8], activation=name, dropout=0.5)},
        )
        for name in ("relu", "tanh", "gelu", "silu", "sigmoid")
    },
    "values": ("regression", {"target_mean": 300.0, "target_std": 25.0}),
    "values by their logarithm": (
        "regression",
        {"target_mean": 3.0, "target_std": 0.5, "target_transform": "log1p"},
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_the_graph_gives_what_torch_gives(world: World, case: str) -> None:
    world.task, fields = CONFIGS[case]
    labels = ["a", "b", "c"] * 100 if world.task == "classification" else [0.5, 1.5] * 150
    model = saved(world, labels, **fields)
    rows = np.random.default_rng(3).normal(size=(50, WIDTH)).astype(np.float32)
    expected = model.predict(rows).double().numpy().reshape(50, -1)
    for name, tolerance in (("onnx", 1e-5), ("int8", 0.15)):
        path = world.model / "variants" / name / "model.onnx"
        onnx.checker.check_model(onnx.load(path), full_check=True)
        found = OnnxModel.load(path, model.config.features).predict(rows).reshape(50, -1)
        scale = expected.std()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance * scale)


def test_each_is_judged_on_the_same_rows(world: World) -> None:
    """Labels are what the model says, so that what a variant says otherwise is lost."""
    model = saved(world, ["a", "b", "c"] * 100)
    features = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    truth = model.predict(features).argmax(dim=1).numpy()
    saved(world, np.array(["a", "b", "c"])[truth].tolist())
    assert len(set(truth)) == 3
    result = judged(world, BOTH, "accuracy", "f1_macro")
    plain, int8 = result.variants or ()
    assert [(one.name, one.accepted) for one in (plain, int8)] == [("onnx", True), ("int8", True)]
    path = world.model / "variants" / "int8" / "model.onnx"
    rows = OnnxModel.load(path, model.config.features).predict(features)
    accuracy = accuracy_score(truth, rows.argmax(axis=1))
    assert next(one.value for one in int8.metrics or ()) == pytest.approx(accuracy, abs=1e-6)
    assert int8.bytes == path.stat().st_size < plain.bytes
    assert 0 < (int8.latency_ms or 0) < 1000
    told = json.loads((world.folder / "evaluation/metrics.json").read_text())["variants"]
    assert told == [one.to_dict() for one in (plain, int8)]


def test_what_loses_too_much_is_refused_and_told(world: World) -> None:
    world.task = "regression"
    model = saved(world, [0.5, 1.5] * 150)
    features = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)
    strict = Export.model_validate({"quantize": {"int8": {"maxDrop": 0}}})
    # With 0 as the best error, whatever is rounded is worse.
    values = model.predict(features).numpy() * (1 + 1e-6)
    saved(world, values.tolist(), strict)
    result = judged(world, strict, "rmse", "r2")
    (int8,) = result.variants or ()
    assert not int8.accepted
    assert int8.message.startswith("it loses more than 0 of a metric: rmse ")
    assert "after" in int8.message and int8.metrics is not None
    assert result.metrics is not None and result.metrics[0].value < int8.metrics[0].value
    (world.model / "variants/int8/model.onnx").write_bytes(b"\x00")
    (broken,) = judged(world, strict, "rmse").variants or ()
    assert not broken.accepted and broken.metrics is None
    assert "is no ONNX" in broken.message or "cannot be loaded" in broken.message
