"""The trials of a search: each as if it were trained alone, none twice, the best one's model goes
on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.datasets import write_dataset
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.train import beforehand
from trainingjob.runtime.train.loop import Trainer
from trainingjob.runtime.train.search import Search

from .gang import Job, fail, mlp, model_of, succeed
from .problems import classification, regression

RATE = "optimizer.sgd.learningRate"
SPEC: dict[str, Any] = {
    "model": mlp(hidden=[8], dropout=0.2),
    "optimizer": {"sgd": {}},
    "epochs": 4,
    "batchSize": 20,
    "checkpoint": {"everySteps": 5},
    "search": {
        "trials": 9,
        "parameters": [
            {"field": RATE, "min": 1e-5, "max": 1.0, "log": True},
            {"field": "model.mlp.hidden[0]", "min": 2, "max": 16},
            {"field": "batchSize", "values": [20, 40]},
        ],
    },
}


def searched(**more: Any) -> dict[str, Any]:
    return {**SPEC, "search": SPEC["search"] | more}


def table_of(model: dict[str, bytes]) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(model["search.json"])
    return table


@pytest.fixture
def job(tmp_path: Path) -> Job:
    classification(tmp_path)
    return Job(tmp_path, searched())


def test_the_model_is_that_of_a_job_with_the_settings_of_the_best_trial(
    job: Job, tmp_path: Path, in_process, capfd: pytest.CaptureFixture[str]
) -> None:
    found = in_process(job)
    table = table_of(found)
    best = table["trials"][table["best"] - 1]
    complete = [one["loss"] for one in table["trials"] if one["state"] == "complete"]
    assert len(table["trials"]) == 9
    assert best["loss"] == min(complete)
    assert len({one["settings"][RATE] for one in table["trials"]}) == 9
    assert {one["state"] for one in table["trials"]} == {"complete", "pruned"}
    for one in table["trials"]:
        assert 1e-5 <= one["settings"][RATE] <= 1
        assert one["settings"]["model.mlp.hidden[0]"] in range(2, 17)
        assert one["settings"]["batchSize"] in (20, 40)
    kept = [path.name for path in (job.checkpoints / "trials").iterdir() if path.is_dir()]
    assert kept == [f"trial-{table['best']}"]
    assert not list(job.checkpoints.glob("trial-*"))
    assert f"the best of 9 trials is trial {table['best']}" in capfd.readouterr().out

    settings = best["settings"]
    alone = {name: value for name, value in SPEC.items() if name != "search"}
    alone["optimizer"] = {"sgd": {"learningRate": settings[RATE]}}
    alone["model"] = mlp(hidden=[settings["model.mlp.hidden[0]"]], dropout=0.2)
    alone["batchSize"] = settings["batchSize"]
    classification(tmp_path / "alone")
    expected = in_process(Job(tmp_path / "alone", alone))
    assert {name: found[name] for name in expected} == expected


def test_killed_in_any_trial_it_goes_on_there_and_finds_the_same(
    job: Job, in_process, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = in_process(job)
    shutil.rmtree(job.model)
    shutil.rmtree(job.checkpoints)
    run, runs = Trainer.run, []

    def run_and_count(self):
        runs.append(self.payload.checkpoints.rpartition("/")[2])
        return run(self)

    monkeypatch.setattr(Trainer, "run", run_and_count)
    assert in_process(job, 7) is None
    # A trial of fewer steps than that is not killed: it is the one after that goes on.
    last = runs[-1]
    runs.clear()
    assert in_process(job) == expected
    assert runs[0] == last
    runs.clear()
    shutil.rmtree(job.model)
    assert in_process(job) == expected
    assert runs == []


def test_the_best_trials_model_is_made_again_when_it_is_damaged(job: Job, in_process) -> None:
    expected = in_process(job)
    best = job.checkpoints / f"trials/trial-{table_of(expected)['best']}"
    (best / "config.json").unlink()
    shutil.rmtree(job.model)
    assert in_process(job) == expected


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "other settings": lambda one: one | {"settings": {"epochs": 5}},
    "a value that is not searched for": lambda one: one | {"settings": one["settings"] | {RATE: 9}},
    "a value of another kind": lambda one: one | {"settings": one["settings"] | {RATE: "x"}},
    "no loss": lambda one: {name: value for name, value in one.items() if name != "loss"},
    "a loss of a trial that failed": lambda one: one | {"state": "failed"},
    "a loss beyond all numbers": lambda one: one | {"loss": float("-inf")},
    "the numbers of another model": lambda one: one | {"outputs": {"uri": 1}},
    "a list": lambda one: [one],
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_record_that_somebody_else_has_written_is_none(job: Job, in_process, forged: str) -> None:
    """Whoever else writes to the storage ends no search, and chooses no settings for it."""
    job = Job(job.folder, searched(trials=2))
    expected = in_process(job)
    record = job.checkpoints / "trials/trial-1.json"
    record.write_text(json.dumps(FORGED[forged](json.loads(record.read_text()))))
    shutil.rmtree(job.model)
    assert in_process(job) == expected


def test_a_model_that_is_exchanged_before_it_is_taken_over_is_not_taken(
    job: Job, in_process
) -> None:
    job = Job(job.folder, searched(trials=1))
    in_process(job)
    shutil.rmtree(job.model)
    search = Search(job.payload())
    secret = job.folder / "secret"
    secret.write_text("of this pod alone")
    model = job.checkpoints / "trials/trial-1"
    (model / "beside").symlink_to(secret)
    assert search.result().outputs.uri == f"file://{job.model}"
    assert not (job.model / "beside").exists()
    (model / "beside").unlink()
    (model / "beside").write_text("of somebody else")
    with pytest.raises(StageFailure, match="the model of trial 1 was changed since it was written"):
        search.result()


def test_a_gang_tells_what_it_has_found(tmp_path: Path) -> None:
    classification(tmp_path)
    gang = Job(tmp_path, searched(trials=6) | {"nodes": 2})
    told = succeed(gang)
    table = table_of(model_of(gang))
    assert told.outputs.search.trials == 6
    assert told.outputs.search.best == table["best"]
    settings = {name: json.loads(one) for name, one in told.outputs.search.settings.items()}
    assert settings == table["trials"][table["best"] - 1]["settings"]
    assert told.outputs.validation_loss == table["trials"][table["best"] - 1]["loss"]


def test_a_trial_whose_loss_is_no_number_has_failed_and_the_search_goes_on(
    tmp_path: Path, in_process
) -> None:
    regression(tmp_path)
    rate = {"field": RATE, "values": [0.01, 100]}
    spec = {**searched(trials=6, parameters=[rate], algorithm="random"), "model": mlp(hidden=[8])}
    table = table_of(in_process(Job(tmp_path, spec, task="regression")))
    states = {one["settings"][RATE]: one["state"] for one in table["trials"]}
    assert states == {0.01: "complete", 100: "failed"}


def test_when_all_trials_fail_so_does_training(tmp_path: Path) -> None:
    regression(tmp_path)
    parameters = [{"field": RATE, "min": 90, "max": 100}]
    spec = {**searched(trials=2, parameters=parameters), "model": mlp(hidden=[8]), "nodes": 2}
    error = fail(Job(tmp_path, spec, task="regression"))
    assert error.reason == "LossNotFinite"
    assert error.message.startswith("none of 2 trials came to its end; of the first, " + RATE)


def test_without_validation_rows_it_does_not_begin(job: Job) -> None:
    shutil.rmtree(job.dataset)
    rows = pa.table({"x0": [1.0, 2.0], "label": ["a", "b"]})
    write_dataset(job.dataset, {"train": rows}, label="label", task="classification")
    with pytest.raises(StageFailure, match="validation") as failure:
        beforehand.check(job.payload())
    assert failure.value.reason == "SplitEmpty"


def test_of_trees(tmp_path: Path) -> None:
    classification(tmp_path)
    spec = {
        "model": {"gradientBoosting": {"iterations": 20}},
        "search": {
            "trials": 4,
            "parameters": [
                {"field": "model.gradientBoosting.learningRate", "min": 0.01, "max": 1, "log": True}
            ],
        },
    }
    job = Job(tmp_path, spec)
    told = succeed(job)
    table = table_of(model_of(job))
    losses = [one["loss"] for one in table["trials"]]
    assert told.outputs.validation_loss == min(losses) == losses[table["best"] - 1]
