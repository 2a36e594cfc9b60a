"""`trainingjob run` of a job with spec.predict: the rows that evaluation judged give its metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sklearn.metrics import accuracy_score

from .harness import base, cli, rows, run, write_csv, write_job


def predicted(folder: Path) -> list[dict[str, Any]]:
    """The rows in the order that the manifest tells."""
    told = json.loads((folder / "predictions.json").read_text())
    files = [pq.read_table(folder / file["name"]) for file in told["files"]]
    return [row for file in files for row in file.to_pylist()]


def test_the_rows_that_were_judged_give_the_metric_that_was_judged(tmp_path: Path) -> None:
    given = [
        row
        | {"x": row["x"] * (-1) ** (at % 7 == 0), "id": at, "part": ("train", "test")[at % 3 == 0]}
        for at, row in enumerate(rows(300))
    ]
    write_csv(tmp_path / "data/in.csv", given)
    test = [row for row in given if row["part"] == "test"]
    write_csv(tmp_path / "data/new.csv", [{k: row[k] for k in ("id", "y", "x")} for row in test])
    manifest = base()
    spec = manifest["spec"]
    spec["preprocess"] |= {"split": {"column": "part"}, "steps": [{"drop": {"columns": ["id"]}}]}
    spec["predict"] = {"input": {"uri": "pvc://data/new.csv", "format": "csv"}}
    first = run(tmp_path, write_job(tmp_path, manifest))
    assert first.code == 0, first.stderr
    assert [stage["name"] for stage in first.status["stages"]][-2:] == ["evaluate", "predict"]
    left = first.status["stages"][-1]["outputs"]
    assert left["uri"] == "pvc://runs/default/small/predictions"
    assert left["rows"] == {"predicted": len(test), "unpredicted": 0}
    home = tmp_path / ".trainingjob/claims/runs/default/small"
    found = predicted(home / "predictions")
    assert [row["id"] for row in found] == [row["id"] for row in test]
    accuracy = accuracy_score([row["label"] for row in test], [row["prediction"] for row in found])
    assert 0.5 < accuracy < 1
    assert abs(accuracy - first.metrics()["accuracy"]) < 1e-12

    # Another job predicts by that model, and has no other stage.
    (model,) = (home / "accepted").glob("[0-9a-f]*/")
    uri = f"pvc://runs/default/small/accepted/{model.name}"
    named = {"uri": uri, "digest": first.status["evaluation"]["modelDigest"]}
    predict = spec["predict"] | {"model": named, "output": "pvc://data/out", "keep": []}
    other = manifest | {"metadata": {"name": "nightly"}}
    other["spec"] = {"storage": spec["storage"], "predict": predict}
    second = run(tmp_path, write_job(tmp_path, other))
    assert second.code == 0, second.stderr
    assert [stage["name"] for stage in second.status["stages"]] == ["predict"]
    alone = predicted(tmp_path / "data/out")
    assert alone == [{k: v for k, v in row.items() if k.startswith("pr")} for row in found]
    shown = cli(tmp_path, "predict", "nightly", "data/new.csv").stdout.splitlines()
    assert [line.split(",")[0].strip('"') for line in shown[1:]] == [
        row["prediction"] for row in found
    ]

    write_csv(tmp_path / "data/new.csv", [{"id": 1, "y": 1, "x": "much"}])
    third = cli(tmp_path, "rerun", "nightly", "--from", "predict", "-o", "json")
    assert (third.code, third.status["reason"]) == (1, "InputMalformed")
    assert 'x: "much" (new.csv, line 2)' in third.status["message"]
    assert third.status["message"].endswith("set the input's options to how the file is written")
    assert predicted(tmp_path / "data/out") == alone
