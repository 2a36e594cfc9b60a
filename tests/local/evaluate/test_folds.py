"""Metrics over folds are those of scikit-learn's cross-validation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.datasets import write_dataset
from trainingjob.api.v1alpha1 import Gate

from .build import World

CASES: dict[str, tuple[Any, Any, dict[str, str]]] = {
    "three classes": (
        load_wine,
        LogisticRegression(C=0.01),
        {
            "accuracy": "accuracy",
            "balanced_accuracy": "balanced_accuracy",
            "f1_macro": "f1_macro",
            "precision_weighted": "precision_weighted",
            "roc_auc": "roc_auc_ovr",
            "log_loss": "neg_log_loss",
        },
    ),
    "two classes": (
        load_breast_cancer,
        LogisticRegression(C=0.01),
        {
            "precision": "precision",
            "recall": "recall",
            "f1": "f1",
            "average_precision": "average_precision",
            "roc_auc": "roc_auc",
        },
    ),
    "regression": (
        load_diabetes,
        Ridge(),
        {
            "r2": "r2",
            "rmse": "neg_root_mean_squared_error",
            "mae": "neg_mean_absolute_error",
            "mape": "neg_mean_absolute_percentage_error",
        },
    ),
}


class Crossed:
    """A world of five folds with what a model of scikit-learn predicts, and its own scores."""

    def __init__(self, world: World, load: Any, model: Any, scoring: dict[str, str]) -> None:
        self.world = world
        x, y = load(return_X_y=True)
        keep = np.random.default_rng(0).permutation(len(y))
        test, keep = keep[:30], keep[30:]
        world.task = "regression" if isinstance(model, Ridge) else "classification"
        pipeline = make_pipeline(StandardScaler(), model)
        splitter = KFold(5) if world.task == "regression" else StratifiedKFold(5)
        folds = [(keep[a], keep[b]) for a, b in splitter.split(x[keep], y[keep])]
        self.scores = cross_validate(pipeline, x, y, scoring=list(scoring.values()), cv=folds)
        self.rows = [len(held_out) for _, held_out in folds]

        def write(at: Path, learned: np.ndarray, judged: np.ndarray, **more: Any) -> str:
            dataset, folder = world.dataset / at, world.model / at
            tables = {
                name: pa.table({"x": x[of, 0], "label": y[of]})
                for name, of in (("train", learned), ("test", judged))
            }
            folder.mkdir(parents=True, exist_ok=True)
            fitted = pipeline.fit(x[learned], y[learned])
            columns = {"y_true": y[judged], "y_pred": fitted.predict(x[judged])}
            if world.task == "classification":
                scores = fitted.predict_proba(x[judged])
                columns |= {f"y_score_{c}": scores[:, c] for c in range(scores.shape[1])}
            pq.write_table(pa.table(columns), folder / "predictions.parquet")
            return write_dataset(dataset, tables, label="label", task=world.task, **more).digest

        digests = [write(Path(f"fold-{n}"), *of) for n, of in enumerate(folds, 1)]
        write(Path(), keep, test, folds=digests)
        self.confusion = None
        if world.task == "classification":
            self.confusion = sum(
                confusion_matrix(y[b], pipeline.fit(x[a], y[a]).predict(x[b])) for a, b in folds
            )
        self.test = pipeline.fit(x[keep], y[keep]).score(x[test], y[test])


@pytest.mark.parametrize(("load", "model", "scoring"), CASES.values(), ids=CASES)
def test_mean_and_deviation_are_those_of_cross_validate(
    load: Any, model: Any, scoring: dict[str, str], tmp_path: Path
) -> None:
    crossed = Crossed(World(tmp_path), load, model, scoring)
    result = crossed.world.run(*scoring)
    report = crossed.world.report()
    for metric in result.metrics or ():
        their = crossed.scores[f"test_{scoring[metric.name]}"]
        their = -their if scoring[metric.name].startswith("neg_") else their
        assert metric.value == pytest.approx(their.mean(), rel=1e-9)
        assert metric.deviation == pytest.approx(their.std(ddof=1), rel=1e-3, abs=1e-12)
        assert report["deviation"][metric.name] == pytest.approx(
            their.std(ddof=1), rel=1e-9, abs=1e-12
        )
        assert [fold["metrics"][metric.name] for fold in report["folds"]] == pytest.approx(
            their.tolist(), rel=1e-9
        )
    assert result.samples == sum(crossed.rows) == report["samples"]
    assert [fold["samples"] for fold in report["folds"]] == crossed.rows
    own = "r2" if crossed.world.task == "regression" else "accuracy"
    assert report["test"]["metrics"][own] == pytest.approx(crossed.test, rel=1e-9)
    assert report["test"]["samples"] == 30
    if crossed.confusion is not None:
        assert report["confusionMatrix"] == crossed.confusion.tolist()
    folder = tmp_path / "evaluation"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.json")} == {
        "metrics.json",
        "test/metrics.json",
        *(f"fold-{n}/metrics.json" for n in range(1, 6)),
    }
    of_one = json.loads((folder / "fold-2/metrics.json").read_text())
    assert of_one["metrics"] == report["folds"][1]["metrics"]


@pytest.fixture
def wine(tmp_path: Path) -> Crossed:
    return Crossed(World(tmp_path), *CASES["three classes"])


def test_without_a_test_split_the_folds_say_all(wine: Crossed) -> None:
    world = wine.world
    manifest = world.dataset / "manifest.json"
    found = json.loads(manifest.read_text())
    found["splits"]["test"] = {"rows": 0, "files": []}
    manifest.write_text(json.dumps(found))
    result = world.run("accuracy")
    assert [metric.test for metric in result.metrics or ()] == [None]
    assert "test" not in world.report()
    assert not (world.folder / "evaluation/test").exists()


def test_gates_hold_for_the_mean_and_a_record_is_kept_of_it(wine: Crossed) -> None:
    world = wine.world
    mean = float(wine.scores["test_accuracy"].mean())
    record = world.folder / "accepted/metrics.json"
    world.gates = [Gate(metric="accuracy", min=mean + 0.001)]
    world.run("accuracy")
    assert not record.exists()
    world.gates = [Gate(metric="accuracy", min=mean - 0.001)]
    world.run("accuracy")
    assert json.loads(record.read_text())["metrics"]["accuracy"] == pytest.approx(mean)


def test_a_metric_that_one_fold_does_not_define_has_no_mean(wine: Crossed) -> None:
    world = wine.world
    path = world.model / "fold-3/predictions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.select(["y_true", "y_pred"]), path)
    failure = world.failure("roc_auc")
    assert (failure.reason, failure.message) == (
        "MetricUndefined",
        "roc_auc is undefined: fold 3: there are no scores of the classes",
    )
    world.run("accuracy")
    report = world.report()
    assert report["undefined"]["roc_auc"] == "fold 3: there are no scores of the classes"
    assert "roc_auc" not in report["metrics"]


def test_the_model_of_a_fold_that_is_missing_is_named(wine: Crossed) -> None:
    shutil.rmtree(wine.world.model / "fold-4")
    failure = wine.world.failure("accuracy")
    assert failure.reason == "ModelMissing"
    assert failure.message.startswith("fold 4: there is no model in ")
