"""Gates against the past: jobs of one name, one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tables import tell

from .harness import base, cli, rows, run, write_csv, write_job


def job(**train: Any) -> dict[str, Any]:
    manifest = base()
    manifest["spec"]["train"] |= train
    manifest["spec"]["evaluate"]["gates"] = [
        {"metric": "accuracy", "min": 0.01, "noWorseThan": "lastAccepted", "tolerance": 0.01}
    ]
    return manifest


def test_a_model_is_held_to_the_last_accepted_one(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    record = tmp_path / ".trainingjob/claims/runs/default/small/accepted/metrics.json"
    good = write_job(tmp_path / "good", job(epochs=10))
    arguments = ("--claim", f"data={tmp_path / 'data'}")

    first = run(tmp_path, good, *arguments)
    assert first.code == 0, first.stderr
    accuracy = first.metrics()["accuracy"]
    assert 0.9 <= accuracy < 1
    none = "the model passed all gates; there was no accepted model to compare accuracy with"
    assert first.status["message"] == none
    assert "accuracy 0." in (told := cli(tmp_path, "explain", "small").stdout)
    assert "passed, none accepted before" in told
    accepted = record.read_bytes()
    assert json.loads(accepted)["uid"] == first.object["metadata"]["uid"]
    assert json.loads(accepted)["metrics"]["accuracy"] == accuracy

    poor = write_job(
        tmp_path / "poor", job(epochs=1, optimizer={"adam": {"learningRate": 1e-9}}, seed=1)
    )
    second = run(tmp_path, poor, *arguments)
    assert second.code == 3, second.stderr
    assert second.status["reason"] == "GateFailed"
    assert f"is worse than {accuracy:.4g} of the last accepted model" in second.status["message"]
    assert "by more than 0.01; " in second.status["message"]
    assert "on other test data" not in second.status["message"]
    (judged,) = second.status["evaluation"]["metrics"]
    assert judged["baseline"] == accuracy
    assert judged["passed"] is False
    assert record.read_bytes() == accepted

    third = cli(tmp_path, "run", str(good), *arguments)
    assert third.code == 0, third.stderr
    assert f"(last accepted {accuracy:.4g})" in third.stdout + third.stderr
    assert f"passed, last accepted {accuracy:.4g}" in cli(tmp_path, "explain", "small").stdout
    again = json.loads(record.read_bytes())
    assert again["uid"] != json.loads(accepted)["uid"]
    assert again["baseline"]["metrics"] == {"accuracy": accuracy}


def test_a_damaged_record_fails_the_job_before_a_model_is_trained(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    record = tmp_path / ".trainingjob/claims/runs/default/small/accepted/metrics.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    outcome = run(tmp_path, write_job(tmp_path, job()))
    assert outcome.code == 1
    tell("the last accepted record is damaged", outcome.seconds, outcome.status)
    assert outcome.status["reason"] == "BaselineInvalid"
    assert "pvc://runs/default/small/accepted/metrics.json" in outcome.status["message"]
    assert outcome.status["message"].endswith(
        "delete the job's accepted folder to compare with nothing"
    )
    assert record.read_text() == "{"
    assert not (record.parents[1] / "model").exists()
