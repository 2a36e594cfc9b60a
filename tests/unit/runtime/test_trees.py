"""Trees of tables: what is kept of them predicts as scikit-learn's own estimator does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.numpy
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from tests.datasets import write_dataset
from trainingjob.api.payload import StageResult, TrainPayload
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.evaluate import sources
from trainingjob.runtime.train import boosting

CITIES = ["Aachen", "Bonn", "Celle", "Dachau", "Essen"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other spin, and there are other tests."""
    with threadpool_limits(1):
        yield


def table(seed: int, rows: int, cities: list[str], task: str) -> pd.DataFrame:
    """Numbers beyond float32, nulls in each kind of column, and a label that needs all of them."""
    rng = np.random.default_rng(seed)
    city = rng.choice(cities, rows)
    frame = pd.DataFrame(
        {
            "area": rng.uniform(1, 2, rows),
            "city": city,
            "stamp": 2**40 + rng.integers(0, 1000, rows),
            "new": rng.random(rows) < 0.4,
            "weight": rng.integers(1, 4, rows) * 0.5,
        }
    )
    worth = np.array([sum(map(ord, name)) * 7 % 5 for name in city])
    score = 4 * frame["area"] + worth + frame["new"] + (frame["stamp"] - 2**40) / 300
    score += rng.normal(0, 0.3, rows)
    cuts = {"two": [11], "three": [9, 12]}
    frame["label"] = np.exp(score / 4) if task == "value" else np.digitize(score, cuts[task])
    frame["stamp"] = frame["stamp"].astype("Int64").mask(rng.random(rows) < 0.1)
    frame["new"] = frame["new"].astype("boolean").mask(rng.random(rows) < 0.1)
    frame["area"] = frame["area"].mask(rng.random(rows) < 0.1)
    frame["city"] = frame["city"].astype("string").mask(rng.random(rows) < 0.1)
    return frame


FRAMES = {
    task: {
        "train": table(1, 800, CITIES[:4], task),
        "validation": table(2, 200, CITIES, task),
        "test": table(3, 300, CITIES, task),
    }
    for task in ("two", "three", "value")
}


def learn(folder: Path, task: str, monkeypatch: Any, **train: Any) -> StageResult:
    kind = "regression" if task == "value" else "classification"
    splits = {n: pa.Table.from_pandas(f, preserve_index=False) for n, f in FRAMES[task].items()}
    return learn_from(folder, splits, kind, monkeypatch, **train)


def learn_from(folder: Path, splits: Any, kind: str, monkeypatch: Any, **train: Any) -> StageResult:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_dataset(folder / "dataset", splits, label="label", task=kind, rows_per_group=100)
    fields = {
        "job": {"namespace": "default", "name": "job", "uid": "1"},
        "attempt": 1,
        "task": Task(type=kind, label_column="label").to_dict(),
        "nodes": 1,
        "procsPerNode": 1,
        "seed": 3,
        "needsModel": False,
        **{to: f"file://{folder}/{to}" for to in ("dataset", "checkpoints")},
        "modelUri": f"file://{folder}/model",
        **train,
    }
    result = boosting.work(TrainPayload.model_validate_json(json.dumps(fields)))
    assert result is not None
    return result


def kept(folder: Path, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the test split as the evaluation has them: what was predicted, and the scores."""
    manifest = DatasetManifest.read(folder / "dataset")
    weighed = "weight" not in json.loads((folder / "model/config.json").read_text())["features"]
    features = [name for name in manifest.features if not (weighed and name == "weight")]
    split = Rows(folder / "dataset", manifest, "test", features)
    batches = [*sources.predict("builtIn", folder / "model", split)]
    predicted = np.concatenate([one.predicted for one in batches])
    scores = [one.scores for one in batches]
    return predicted, np.concatenate(scores) if task != "value" else predicted


def seen(frame: pd.DataFrame, *dropped: str) -> pd.DataFrame:
    """As scikit-learn takes it: pandas' categories, those of training."""
    frame = frame.drop(columns=["label", *dropped])
    kinds = {"stamp": "float64", "new": "float64", "city": pd.CategoricalDtype(CITIES[:4])}
    return frame.astype(kinds)


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as they are": ({}, {}),
    "all set": (
        {
            "iterations": 35,
            "learningRate": 0.3,
            "maxLeaves": 7,
            "maxDepth": 3,
            "minSamplesLeaf": 5,
            "l2": 0.7,
            "maxFeatures": 0.5,
            "maxBins": 40,
        },
        {
            "max_iter": 35,
            "learning_rate": 0.3,
            "max_leaf_nodes": 7,
            "max_depth": 3,
            "min_samples_leaf": 5,
            "l2_regularization": 0.7,
            "max_features": 0.5,
            "max_bins": 40,
        },
    ),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("task", FRAMES)
def test_what_is_kept_predicts_exactly_as_scikit_learn(tmp_path, monkeypatch, task, settings):
    ours, theirs = SETTINGS[settings]
    result = learn(tmp_path, task, monkeypatch, model={"gradientBoosting": ours})
    frames = FRAMES[task]
    make = HistGradientBoostingRegressor if task == "value" else HistGradientBoostingClassifier
    oracle = make(random_state=3, early_stopping=False, **theirs)
    oracle.fit(seen(frames["train"]), frames["train"]["label"])
    predicted, scores = kept(tmp_path, task)
    test = seen(frames["test"])
    assert test["city"].isna().mean() > 0.2, "of which some are values unseen in training"
    if task == "value":
        np.testing.assert_array_equal(predicted, oracle.predict(test))
    else:
        np.testing.assert_array_equal(predicted, oracle.predict(test))
        np.testing.assert_allclose(scores, oracle.predict_proba(test), rtol=1e-12, atol=1e-15)
    assert result.outputs.steps == oracle.n_iter_
    assert result.outputs.validation_loss is not None


@pytest.mark.parametrize("task", ["three", "value"])
def test_training_stops_early_and_keeps_the_best(tmp_path, monkeypatch, task) -> None:
    result = learn(
        tmp_path,
        task,
        monkeypatch,
        model={"gradientBoosting": {"iterations": 400, "learningRate": 0.3}},
        earlyStopping={"patience": 4},
    )
    frames = FRAMES[task]
    make = HistGradientBoostingRegressor if task == "value" else HistGradientBoostingClassifier
    oracle = make(
        random_state=3, learning_rate=0.3, max_iter=400, early_stopping=True, n_iter_no_change=4,
        tol=0.0,
    )  # fmt: skip
    oracle.fit(
        *(seen(frames["train"]), frames["train"]["label"]),
        X_val=seen(frames["validation"]),
        y_val=frames["validation"]["label"],
    )
    best = int(np.argmax(oracle.validation_score_))
    assert 0 < best < oracle.n_iter_ < 400
    assert result.outputs.steps == best
    scale = 2 if task == "value" else 1  # of half the squared error
    assert result.outputs.validation_loss == pytest.approx(-scale * max(oracle.validation_score_))
    staged = oracle.staged_predict if task == "value" else oracle.staged_predict_proba
    expected = [*staged(seen(frames["test"]))][best - 1]
    np.testing.assert_allclose(kept(tmp_path, task)[1], expected, rtol=1e-12, atol=1e-15)
    history = json.loads((tmp_path / "model/history.json").read_text())
    assert [one["iteration"] for one in history] == [*range(oracle.n_iter_ + 1)]


@pytest.mark.parametrize("by_class", ["balanced", {"2": 9.0}])
def test_rows_and_classes_are_weighed(tmp_path, monkeypatch, by_class) -> None:
    boosted = {"gradientBoosting": {"iterations": 20}}
    given = {"classWeights": by_class, "sampleWeight": "weight"}
    learn(tmp_path, "three", monkeypatch, model=boosted, **given)
    frame = FRAMES["three"]["train"]
    classes = by_class if by_class == "balanced" else {0: 1, 1: 1, 2: 9}
    weights = compute_sample_weight(classes, frame["label"]) * frame["weight"]
    oracle = HistGradientBoostingClassifier(random_state=3, max_iter=20, early_stopping=False)
    oracle.fit(seen(frame, "weight"), frame["label"], weights)
    expected = oracle.predict_proba(seen(FRAMES["three"]["test"], "weight"))
    np.testing.assert_allclose(kept(tmp_path, "three")[1], expected, rtol=1e-12, atol=1e-15)


def test_the_logarithm_of_a_label_is_learned(tmp_path, monkeypatch) -> None:
    boosted = {"gradientBoosting": {"iterations": 20}}
    learn(tmp_path, "value", monkeypatch, model=boosted, targetTransform="log1p")
    frame = FRAMES["value"]["train"]
    target = np.log1p(frame["label"])
    mean, deviation = target.mean(), target.std(ddof=0)
    oracle = HistGradientBoostingRegressor(random_state=3, max_iter=20, early_stopping=False)
    oracle.fit(seen(frame), (target - mean) / deviation)
    expected = np.expm1(oracle.predict(seen(FRAMES["value"]["test"])) * deviation + mean)
    np.testing.assert_allclose(kept(tmp_path, "value")[0], expected, rtol=1e-9)


SMALL = pa.table({"a": [1.0, 2.0] * 20, "t": ["x", "y"] * 20, "label": ["p", "q"] * 20})
REFUSED: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "more categories than there are bins": (
        {"train": SMALL},
        {"model": {"gradientBoosting": {"maxBins": 2}}},
        "",
        "",
    ),
    "a text of names": (
        {"train": SMALL.set_column(1, "t", pa.array([f"n{i}" for i in range(40)]))},
        {"model": {"gradientBoosting": {"maxBins": 39}}},
        "FeatureNotNumeric",
        "feature t is text with more than 39 different values",
    ),
    "a date": (
        {"train": SMALL.set_column(1, "t", pa.array([7] * 40, pa.date32()))},
        {},
        "FeatureNotNumeric",
        "feature t is of type date; take parts of it by the step dateParts",
    ),
    "a class without rows": (
        {"train": SMALL, "test": SMALL.set_column(2, "label", pa.array(["r"] * 40))},
        {},
        "SettingUnsuitable",
        "the train split has none of r; set preprocess.split.stratify",
    ),
    "no rows": ({"train": SMALL.slice(0, 0), "test": SMALL}, {}, "SplitEmpty", "train split"),
    "nothing but nulls": (
        {"train": SMALL.set_column(1, "t", pa.nulls(40, pa.string()))},
        {},
        "",
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_is_told(tmp_path, monkeypatch, case) -> None:
    splits, given, reason, words = REFUSED[case]
    train = {"model": {"gradientBoosting": {}}, **given}
    if not reason:
        learn_from(tmp_path, splits, "classification", monkeypatch, **train)
        return
    with pytest.raises(StageFailure) as failure:
        learn_from(tmp_path, splits, "classification", monkeypatch, **train)
    assert failure.value.reason == reason
    assert words in failure.value.message


def test_arrays_that_do_not_fit_are_no_model(tmp_path, monkeypatch) -> None:
    """Whatever is changed: the predictor has no checks of its own, and would read any memory."""
    learn(tmp_path, "three", monkeypatch, model={"gradientBoosting": {"iterations": 3}})
    path = tmp_path / "model/model.safetensors"
    whole = safetensors.numpy.load(path.read_bytes())
    inner = np.flatnonzero(whole["is_leaf"] == 0)
    by_category = inner[whole["is_categorical"][inner] == 1]
    changes: list[tuple[str, Any, Any]] = [
        ("left", inner[1], 0),
        ("right", inner[0], 2**31),
        ("left", inner[-1], len(whole["left"])),
        ("feature_idx", inner[2], 6),
        ("feature_idx", inner[2], -1),
        ("bitset_idx", by_category[0], 2**20),
        ("nodes", 0, 1),
        ("nodes", 1, -4),
        ("splits", 0, 99),
        ("value", 0, np.nan),
        ("baseline", 0, np.inf),
    ]
    for name, at, value in changes:
        changed = {key: array.copy() for key, array in whole.items()}
        changed[name][at] = value
        path.write_bytes(safetensors.numpy.save(changed))
        with pytest.raises(StageFailure, match="does not hold the trees of its config"):
            kept(tmp_path, "three")
    for name in whole:
        path.write_bytes(safetensors.numpy.save({k: v for k, v in whole.items() if k != name}))
        with pytest.raises(StageFailure, match="does not hold the trees of its config"):
            kept(tmp_path, "three")
        cut = {**whole, name: whole[name][:-1]}
        path.write_bytes(safetensors.numpy.save(cut))
        with pytest.raises(StageFailure, match="does not hold the trees of its config"):
            kept(tmp_path, "three")
    path.write_bytes(safetensors.numpy.save(whole))
    kept(tmp_path, "three")
