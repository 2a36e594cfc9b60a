"""Cross-validation as a whole: a job of folds, from a file to its status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from trainingjob.runtime.model.mlp import load_model

from .harness import base, cli, rows, run, write_csv, write_job


def test_a_job_of_folds_tells_mean_and_deviation(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    job = base()
    job["spec"]["preprocess"] |= {
        "steps": [{"scale": {}}],
        "split": {"folds": 3, "test": 0.2, "stratify": True},
    }
    job["spec"]["evaluate"] = {
        "metrics": ["accuracy", "f1_macro"],
        "gates": [{"metric": "accuracy", "min": 0.6}],
    }
    outcome = run(tmp_path, write_job(tmp_path, job), "--claim", f"data={tmp_path / 'data'}")
    assert outcome.code == 0, outcome.stderr
    folder = tmp_path / ".trainingjob/claims/runs/default/small"

    def scores(part: str) -> tuple[float, float]:
        """By hand: the stored model over the stored rows."""
        model = load_model(folder / "model" / part)
        # A fold's folder has the stamp of its writing in its name.
        dataset = next((folder / "dataset").glob(f"{part}-*")) if part else folder / "dataset"
        data = pd.concat([pd.read_parquet(p) for p in sorted((dataset / "test").iterdir())])
        logits = model.predict(torch.tensor(data[model.config.features].to_numpy()))
        predicted = np.array(model.config.classes)[logits.argmax(dim=1).numpy()]
        truth = data["label"]
        return accuracy_score(truth, predicted), f1_score(truth, predicted, average="macro")

    by_fold = np.array([scores(f"fold-{fold}") for fold in (1, 2, 3)])
    test = scores("")
    preprocess, train, _ = outcome.status["stages"]
    assert preprocess["outputs"]["folds"] == [54, 53, 53]
    assert preprocess["outputs"]["rows"] == {"train": 160, "validation": 0, "test": 40}
    evaluation = outcome.status["evaluation"]
    assert evaluation["samples"] == 160
    for place, metric in enumerate(evaluation["metrics"]):
        assert metric["value"] == pytest.approx(by_fold[:, place].mean())
        assert metric["deviation"] == pytest.approx(by_fold[:, place].std(ddof=1), rel=1e-3)
        assert metric["test"] == pytest.approx(test[place], rel=1e-5)
    accepted = json.loads((folder / "accepted/metrics.json").read_text())
    assert accepted["metrics"]["accuracy"] == evaluation["metrics"][0]["value"]
    told = cli(tmp_path, "explain", "small").stdout
    first = evaluation["metrics"][0]
    words = f"accuracy {first['value']:.4g} ± {first['deviation']:.2g}, test {first['test']:.4g}"
    assert f"{words}: passed" in told
    assert "fold 2/3 epoch 1/2" in cli(tmp_path, "logs", "small").stdout
    assert train["outputs"]["digest"] == evaluation["modelDigest"]
