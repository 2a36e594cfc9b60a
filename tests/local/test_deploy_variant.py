"""`trainingjob run` of a job whose model is served, and predicts, in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .harness import base, cli, rows, run, write_csv, write_job
from .test_predict import predicted


def test_the_form_that_is_named_proves_itself_and_predicts(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows(200))
    new = [{key: row[key] for key in ("x", "y")} for row in rows(40)]
    write_csv(tmp_path / "data/new.csv", new)
    manifest = base()
    spec: dict[str, Any] = manifest["spec"]
    spec["train"]["export"] = {"quantize": {"int8": {"maxDrop": 1}}}
    spec["deploy"] = {"deployment": {}, "variant": "int8"}
    source = {"uri": "pvc://data/new.csv", "format": "csv"}
    spec["predict"] = {"input": source, "variant": "int8"}
    first = run(tmp_path, write_job(tmp_path, manifest))
    assert first.code == 0, first.stderr
    assert [one["name"] for one in first.status["evaluation"]["variants"]] == ["int8"]
    assert first.status["deployment"]["variant"] == "int8"
    home = tmp_path / ".trainingjob/claims/runs/default/small"
    by_int8 = predicted(home / "predictions")
    assert len(by_int8) == len(new)

    shown = cli(tmp_path, "predict", "small", "data/new.csv", "--variant", "int8").stdout
    table = [line.split(",") for line in shown.splitlines()]
    place = table[0].index('"probability_a"')
    assert [float(row[place]) for row in table[1:]] == [row["probability_a"] for row in by_int8]
    exact = cli(tmp_path, "predict", "small", "data/new.csv").stdout
    assert exact.splitlines()[0] == shown.splitlines()[0] and exact != shown

    # Another job asks for a form that nobody has made: its pod says which there are.
    (model,) = (home / "accepted").glob("[0-9a-f]*/")
    uri = f"pvc://runs/default/small/accepted/{model.name}"
    named = {"uri": uri, "digest": first.status["evaluation"]["modelDigest"]}
    other = manifest | {"metadata": {"name": "nightly"}}
    predict = {"input": source, "model": named, "variant": "onnx"}
    other["spec"] = {"storage": spec["storage"], "predict": predict}
    second = run(tmp_path, write_job(tmp_path, other))
    assert second.status["reason"] == "VariantUnavailable", second.stderr
    assert second.status["message"].startswith(
        "variant onnx was not made when the model was judged; there is int8, and the model itself; "
    )
    assert second.status["lastFailure"]["attempt"] == 1, "it is not tried again"
