"""The stage as a whole: its result, its file, and what may be wrong around it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from trainingjob.api.payload import RESULT_LIMIT, Report
from trainingjob.api.v1alpha1 import Gate
from trainingjob.api.v1alpha1.evaluate import BINARY_METRICS, CLASSIFICATION_METRICS
from trainingjob.api.v1alpha1.train import Mlp
from trainingjob.runtime.base.digest import digest_of_folder, sha256
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.model.mlp import ModelConfig, build, save_model

from .build import Picked, World

LABELS = ["a", "b", "c"] * 40


def built_in(world: World, manifest: DatasetManifest, **changes: object) -> ModelConfig:
    """An untrained built-in model for the dataset."""
    config = ModelConfig(
        task=manifest.task,
        label=manifest.label,
        features=manifest.features,
        classes=manifest.classes,
        mlp=Mlp(hidden=[4]),
    ).model_copy(update=changes)
    save_model(world.model, config, build(config).state_dict())
    return config


def test_the_result_names_what_was_judged(world: World) -> None:
    manifest = world.write(LABELS)
    built_in(world, manifest)
    asked = [name for name in CLASSIFICATION_METRICS if name not in BINARY_METRICS]
    result = world.run(*asked)
    report = world.report()
    assert [metric.name for metric in result.metrics] == asked
    assert {metric.name: metric.value for metric in result.metrics} == report["metrics"]
    assert result.samples == report["samples"] == len(LABELS)
    assert result.dataset_digest == report["datasetDigest"] == manifest.digest
    assert result.model_digest == report["modelDigest"] == digest_of_folder(world.model)
    assert report["source"] == "builtIn"
    assert np.array(report["confusionMatrix"]).sum(axis=1).tolist() == [40, 40, 40]
    assert result.outputs.uri == f"file://{world.folder / 'evaluation'}"
    assert result.outputs.digest == sha256(world.folder / "evaluation" / "metrics.json")
    assert len(json.dumps(Report(result=result).to_dict())) < RESULT_LIMIT


@pytest.mark.parametrize(
    ("task", "label", "loaded"),
    [("regression", [0.5, 1.5], set()), ("classification", ["a", "b"], {"sklearn"})],
)
def test_a_library_is_loaded_where_it_is_needed_alone(
    world: World, task: str, label: list[Any], loaded: set[str]
) -> None:
    """Each of them takes seconds, and pandas, which scikit-learn loads if it can, one."""
    world.task = task
    world.write(label * 8)
    world.predictions(y_true=label * 8, y_pred=label * 8)
    code = (
        "import json, os, sys\n"
        "from trainingjob.runtime.__main__ import main\n"
        "assert main() == 0\n"
        "print(json.dumps(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules))))\n"
        "import pandas"
    )
    environment = {
        **os.environ,
        "TRAININGJOB_STAGE": world.payload().model_dump_json(by_alias=True, exclude_none=True),
        "TRAININGJOB_RESULT_FILE": str(world.folder / "result"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == loaded


def test_a_built_in_model_of_regression_predicts_in_the_labels_unit(world: World) -> None:
    world.task = "regression"
    manifest = world.write(np.full(10, 7.0) + np.arange(10))
    config = built_in(world, manifest, target_mean=1000.0, target_std=1e-6)
    assert config.target_mean == 1000
    assert world.values("mae")["mae"] == pytest.approx(1000 - 11.5, abs=1e-3)


def test_a_built_in_model_that_learned_a_transformed_label(world: World) -> None:
    world.task = "regression"
    manifest = world.write(np.full(10, 7.0) + np.arange(10))
    built_in(world, manifest, target_transform="log1p", target_mean=5.0, target_std=1e-9)
    assert world.values("mae")["mae"] == pytest.approx(np.expm1(5) - 11.5, rel=1e-6)


def test_the_column_that_weighed_the_rows_is_no_feature(world: World) -> None:
    manifest = world.write(LABELS)
    built_in(world, manifest, features=["x.0", "x.2"], sample_weight="x.1")
    assert world.run("accuracy").samples == len(LABELS)


MISMATCHES = {
    "features": {"features": ["x.0", "x.2", "x.1"]},
    "classes": {"classes": ["a", "c", "b"]},
    "label": {"label": "other"},
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_a_built_in_model_of_another_dataset_is_refused(world: World, what: str) -> None:
    built_in(world, world.write(LABELS), **MISMATCHES[what])
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert f"was trained for other {what}" in failure.message


def test_a_program_goes_before_a_built_in_model_and_that_before_predictions(world: World) -> None:
    manifest = world.write(LABELS)
    world.predictions(y_true=LABELS, y_pred=LABELS)
    found = []
    for make in (
        lambda: None,
        lambda: built_in(world, manifest),
        lambda: world.program(nn.Linear(3, 3), torch.zeros(4, 3)),
    ):
        make()
        world.run("accuracy")
        found.append(world.report()["source"])
    assert found == ["predictions", "builtIn", "program"]


def test_a_built_in_model_of_some_of_the_features(world: World) -> None:
    world.features = ["x.2", "x.0"]
    manifest = world.write(LABELS)
    built_in(world, manifest, features=["x.0", "x.2"])
    assert world.run("accuracy").samples == len(LABELS)
    world.features = ["x.1", "x.2"]
    with pytest.raises(StageFailure, match="was trained for other features") as caught:
        world.run("accuracy")
    assert caught.value.reason == "ModelCorrupt"


@pytest.mark.parametrize(("picked", "width"), [(2, 3), (1, 2)], ids=["of all", "of the task's"])
def test_a_program_takes_all_features_or_those_of_the_task(
    world: World, picked: int, width: int
) -> None:
    world.features = ["x.2", "x.0"]
    labels = ["a", "b", "b", "a"]
    features = np.array([[9.0, 9, -1], [9, 9, 1], [9, 9, 1], [9, 9, -1]])
    world.write(labels, features)
    # The logit of class b is feature x.2, which is the last either way.
    world.program(Picked(picked), torch.zeros(4, width))
    assert world.values("accuracy")["accuracy"] == 1
    world.program(Picked(0), torch.zeros(4, 1))
    with pytest.raises(StageFailure, match=r"takes \[n, 1\], expected \[n, 3\] or \[n, 2\]"):
        world.run("accuracy")


def hugging_face(world: World) -> None:
    """The names of our files, by another library."""
    save_file({"w": np.zeros(3, np.float32)}, world.model / "model.safetensors")
    (world.model / "config.json").write_text('{"model_type": "bert"}')


def test_a_model_of_another_library_does_not_hide_its_predictions(world: World) -> None:
    world.write(LABELS)
    hugging_face(world)
    failure = world.failure("accuracy")
    assert failure.reason == "ModelMissing"
    assert "a model of another library needs its code to run" in failure.message
    world.predictions(y_true=LABELS, y_pred=LABELS)
    assert world.values("accuracy")["accuracy"] == 1
    assert world.report()["source"] == "predictions"


def test_a_damaged_built_in_model_is_told_as_one(world: World) -> None:
    built_in(world, world.write(LABELS))
    (world.model / "config.json").write_text('{"version": 1, "ta')
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert "config.json does not describe a built-in model" in failure.message


@pytest.mark.parametrize("files", [[], ["model.safetensors"], ["config.json"], ["notes.txt"]])
def test_a_folder_without_a_model(world: World, files: list[str]) -> None:
    world.write(LABELS)
    for name in files:
        (world.model / name).write_text("{}")
    failure = world.failure("accuracy")
    assert failure.reason == "ModelMissing"
    assert str(world.model) in failure.message


def test_a_folder_that_is_not_there(world: World) -> None:
    world.write(LABELS)
    world.model.rmdir()
    assert world.failure("accuracy").reason == "ModelMissing"


def test_an_empty_test_split(world: World) -> None:
    table = pa.table({"x": [1.0, 2.0], "label": ["a", "b"]})
    world.write(pa.array([], pa.string()), np.empty((0, 1)), train=table)
    world.predictions(y_true=["a"], y_pred=["a"])
    failure = world.failure("accuracy")
    assert failure.reason == "SplitEmpty"
    assert failure.message == f"the test split of {world.dataset} has no rows"


def test_a_dataset_prepared_for_another_task(world: World) -> None:
    world.write(LABELS)
    world.label = "price"
    failure = world.failure("accuracy")
    assert failure.reason == "DatasetInvalid"
    assert "classification of label, the task is classification of price" in failure.message


def with_column(world: World, **columns: pa.Array) -> None:
    """The test split with other columns, under a manifest that fits its files."""
    part = world.dataset / "test" / "part-00000.parquet"
    table = pq.read_table(part)
    for name, values in columns.items():
        table = table.drop_columns(name)
        if values is not None:
            table = table.append_column(name, values)
    pq.write_table(table, part)
    manifest = world.dataset / "manifest.json"
    text = json.loads(manifest.read_text())
    text["splits"]["test"]["files"][0]["bytes"] = part.stat().st_size
    manifest.write_text(json.dumps(text))


BAD_DATA = {
    "a feature with nulls": (
        {"x.1": pa.array([None, 1.0] * 60)},
        "FeatureHasNulls",
        "feature x.1 in ",
    ),
    "a feature of text": (
        {"x.1": pa.array(["a"] * 120)},
        "FeatureNotNumeric",
        "is string, not a number",
    ),
    "a feature that is not there": ({"x.1": None}, "DatasetInvalid", "has no column x.1"),
    "a label with nulls": (
        {"label": pa.array([None, "a"] * 60)},
        "LabelHasNulls",
        "has 60 nulls",
    ),
    "a label of no class": (
        {"label": pa.array(["z"] * 120)},
        "DatasetInvalid",
        "has 'z', which is none of the classes",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_a_dataset_that_is_not_as_it_should_be(world: World, case: str) -> None:
    columns, reason, message = BAD_DATA[case]
    world.write(LABELS)
    world.program(nn.Linear(3, 3), torch.zeros(4, 3))
    with_column(world, **columns)
    failure = world.failure("accuracy")
    assert failure.reason == reason
    assert message in failure.message
    assert "part-00000.parquet" in failure.message


def test_a_damaged_data_file(world: World) -> None:
    world.write(LABELS)
    world.program(nn.Linear(3, 3), torch.zeros(4, 3))
    part = world.dataset / "test" / "part-00000.parquet"
    part.write_bytes(b"x" * part.stat().st_size)
    failure = world.failure("accuracy")
    assert failure.reason == "DatasetInvalid"
    assert f"{part} cannot be read" in failure.message


def test_only_what_the_stages_before_have_left_is_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = world.write(LABELS)
    program = world.program(nn.Linear(3, 3), torch.zeros(4, 3))
    model = digest_of_folder(world.model)
    monkeypatch.setenv("TRAININGJOB_DATASET_DIGEST", manifest.digest)
    monkeypatch.setenv("TRAININGJOB_MODEL_DIGEST", model)
    world.run("accuracy")
    shutil.rmtree(world.folder / "evaluation")

    monkeypatch.setenv("TRAININGJOB_MODEL_DIGEST", "sha256:other")
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"
    assert f"its digest is {model}, status has sha256:other" in failure.message
    monkeypatch.setenv("TRAININGJOB_MODEL_DIGEST", model)

    monkeypatch.setenv("TRAININGJOB_DATASET_DIGEST", "sha256:other")
    failure = world.failure("accuracy")
    assert failure.reason == "DatasetInvalid"
    assert f"its digest is {manifest.digest}, status has sha256:other" in failure.message
    monkeypatch.setenv("TRAININGJOB_DATASET_DIGEST", manifest.digest)

    # The held-out rows alone, in a file of the same size, under the manifest as it was.
    (file,) = (world.dataset / "test").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + bytes(8) + whole[12:])
    failure = world.failure("accuracy")
    assert failure.reason == "DatasetInvalid"
    assert "not as its manifest says" in failure.message
    file.write_bytes(whole)

    # What a link leads to is none of the model's, and does not go on with it.
    secret = world.folder / "secret"
    secret.write_text("of this pod alone")
    (program.parent / "extra").symlink_to(secret)
    world.run("accuracy")
    shutil.rmtree(world.folder / "evaluation")
    (program.parent / "extra").unlink()
    (program.parent / "extra").write_text("of somebody else")
    failure = world.failure("accuracy")
    assert failure.reason == "ModelCorrupt"


def test_features_of_any_number_type_come_in_the_manifests_order(world: World) -> None:
    labels = ["a", "b", "b", "a"]
    second = {
        "x.2": pa.array([False, True, True, False]),
        "x.0": pa.array([5, 5, 5, 5], pa.int8()),
        "x.1": pa.array([9.0, 9.0, 9.0, 9.0], pa.float32()),
    }
    world.write(labels)
    with_column(world, **second)
    # The logit of class b is feature x.2, above zero only where it is true.
    world.program(Picked(2), torch.zeros(4, 3))
    assert world.values("accuracy")["accuracy"] == 1


def test_several_files_are_one_split(world: World) -> None:
    world.write(LABELS, rows_per_file=7)
    world.program(nn.Linear(3, 3), torch.zeros(4, 3))
    assert world.run("accuracy").samples == len(LABELS)
    assert world.report()["samples"] == len(LABELS)


def test_an_evaluation_replaces_the_one_before(world: World) -> None:
    manifest = world.write(LABELS)
    built_in(world, manifest)
    first = world.run("accuracy")
    (world.folder / "evaluation" / "leftover").touch()
    assert world.run("accuracy") == first
    assert [path.name for path in (world.folder / "evaluation").iterdir()] == ["metrics.json"]


def right(world: World, count: int) -> None:
    """Predictions of which so many are right."""
    wrong = ["b" if label == "a" else "a" for label in LABELS[count:]]
    world.predictions(y_true=LABELS, y_pred=[*LABELS[:count], *wrong])


def test_the_result_tells_what_gates_compared_with(world: World) -> None:
    manifest = world.write(LABELS)
    path = world.folder / "accepted" / "metrics.json"
    world.gates = [
        Gate.model_validate({"metric": "accuracy", "noWorseThan": "lastAccepted"}),
        Gate.model_validate({"metric": "f1_macro", "min": 0.1}),
    ]
    found = []
    # The second job's pod comes back once more, and so does the third's, which is worse.
    for uid, count in (("1", 90), ("2", 96), ("2", 96), ("3", 60), ("3", 60)):
        world.uid = uid
        right(world, count)
        baseline = world.run("accuracy", "f1_macro").baseline
        assert baseline is None or baseline.dataset_digest == manifest.digest
        record = json.loads(path.read_text())
        found.append((baseline and baseline.metrics, record["uid"]))
        assert record["metrics"].keys() >= {"accuracy", "f1_macro", "recall_micro"}
    assert found == [
        (None, "1"),
        ({"accuracy": 0.75}, "2"),
        ({"accuracy": 0.75}, "2"),
        ({"accuracy": 0.8}, "2"),
        ({"accuracy": 0.8}, "2"),
    ]


def test_a_damaged_record_is_told_before_the_model_is_judged(world: World) -> None:
    world.write(LABELS)
    world.gates = [Gate.model_validate({"metric": "accuracy", "noWorseThan": "lastAccepted"})]
    (world.folder / "accepted").mkdir()
    (world.folder / "accepted" / "metrics.json").write_text("{}")
    assert world.failure("accuracy").reason == "BaselineInvalid"
