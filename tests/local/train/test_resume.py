"""A run that is killed and goes on ends with the same bits as one that nobody disturbs."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.train.data import Split

from . import instrumented
from .gang import Job, fail, mlp, model_of, pods, succeed, until
from .problems import classification

INSTRUMENTED = [sys.executable, instrumented.__file__, "node"]

# 205 rows in batches of 20: 11 steps an epoch, the last one smaller.
SPECS: dict[str, dict[str, Any]] = {
    "adam, dropout, a cosine, early stopping": {
        "model": mlp(hidden=[16, 8], dropout=0.3),
        "optimizer": {"adam": {"learningRate": 0.01}},
        "schedule": {"cosine": {"warmupSteps": 5}},
        "earlyStopping": {"patience": 2, "minDelta": 0.2},
        "epochs": 6,
        "batchSize": 20,
        "checkpoint": {"everySteps": 4},
    },
    "sgd with momentum, steps down": {
        "model": mlp(hidden=[16], activation="tanh"),
        "optimizer": {"sgd": {"learningRate": 0.1, "momentum": 0.9}},
        "schedule": {"step": {"everyEpochs": 2}},
        "epochs": 4,
        "batchSize": 20,
        "checkpoint": {"everySteps": 11, "keep": 1},
    },
    "a linear model, a checkpoint at every step": {
        "model": mlp(hidden=[]),
        "optimizer": {"adamw": {"weightDecay": 0.1}},
        "classWeights": {"a": 5, "b": 0.5},
        "epochs": 2,
        "batchSize": 20,
        "checkpoint": {"everySteps": 1},
    },
}


@pytest.mark.parametrize("window_bytes", [None, "1200"], ids=["kept", "streamed"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_killed_after_any_steps_it_ends_with_the_same_bits(
    tmp_path, in_process, monkeypatch, spec, window_bytes
):
    if window_bytes:
        monkeypatch.setattr(Split.__init__, "__defaults__", (None, int(window_bytes)))
    classification(tmp_path)
    job = Job(tmp_path, spec)
    expected = in_process(job)
    steps = json.loads(expected["history.json"])[-1]["step"]
    rng = random.Random(1)
    for _ in range(4):
        shutil.rmtree(job.model)
        shutil.rmtree(job.checkpoints)
        for at in sorted(rng.sample(range(1, steps + 1), 2)):
            in_process(job, at)
        assert in_process(job) == expected


# spec, the rank that is killed, after which step
KILLS = [
    ("adam, dropout, a cosine, early stopping", 1, 3),
    ("adam, dropout, a cosine, early stopping", 0, 26),
    ("sgd with momentum, steps down", 1, 12),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Models by the name of their spec, of gangs of two that nobody disturbed."""
    found: dict[str, dict[str, bytes]] = {}

    def model(name: str) -> dict[str, bytes]:
        if name not in found:
            folder = tmp_path_factory.mktemp("undisturbed")
            classification(folder)
            job = Job(folder, {**SPECS[name], "nodes": 2})
            succeed(job)
            found[name] = model_of(job)
        return found[name]

    return model


@pytest.mark.parametrize(("name", "rank", "step"), KILLS)
def test_a_gang_of_which_a_rank_is_killed_ends_with_the_same_bits(
    tmp_path, undisturbed, name, rank, step
):
    classification(tmp_path)
    job = Job(tmp_path, {**SPECS[name], "nodes": 2}, main=INSTRUMENTED)
    job.env["AT_STEP"] = json.dumps({"step": step, "rank": rank, "do": "kill"})
    with pods(job) as running:
        told = running.wait()
        assert told[rank].error is not None, running.logs()
        assert told[1 - rank].error is not None, running.logs()
    assert (told[rank].error.reason, told[rank].error.rank) == ("ProcessKilled", rank)
    assert (told[rank].error.signal, told[1 - rank].error.reason) == (9, "PeerLost")
    assert not job.model.exists()
    job.env.clear()
    succeed(job)
    assert model_of(job) == undisturbed(name)


def test_sigterm_to_one_pod_stops_all_at_the_same_step_and_loses_nothing(tmp_path, undisturbed):
    name = "adam, dropout, a cosine, early stopping"
    classification(tmp_path)
    job = Job(tmp_path, {**SPECS[name], "nodes": 2}, main=INSTRUMENTED)
    job.env["AT_STEP"] = json.dumps({"step": 6, "rank": 1, "do": "terminate"})
    with pods(job) as running:
        errors = [report.error for report in running.wait()]
        assert None not in errors, running.logs()
    assert {error.reason for error in errors} == {"Disrupted"}
    # The launcher passes the signal on some steps later; both ranks agree on which.
    assert len({error.message for error in errors}) == 1
    newest = max(path.name for path in job.checkpoints.glob("step-*"))
    assert errors[0].message == f"stopped by SIGTERM at step {int(newest[5:])}; checkpoint {newest}"
    job.env.clear()
    succeed(job)
    assert model_of(job) == undisturbed(name)


def test_sigterm_before_training_is_a_disruption_too(tmp_path):
    classification(tmp_path)
    job = Job(tmp_path, {**SPECS["sgd with momentum, steps down"]})
    with pods(job) as running:
        until(running.children, "a rank")
        running.terminate()
        error = running.wait()[0].error
    assert error is not None
    assert (error.reason, error.message) == ("Disrupted", "stopped by SIGTERM")


CHANGES = {
    "optimizer": {"optimizer": {"adam": {"learningRate": 0.5}}},
    "epochs": {"epochs": 7},
    "seed": {"seed": 1},
    "batchSize": {"batchSize": 21},
}


def test_a_changed_job_does_not_go_on_from_its_old_checkpoints(tmp_path, in_process):
    classification(tmp_path)
    spec = SPECS["adam, dropout, a cosine, early stopping"]
    in_process(Job(tmp_path, spec), 8)
    for name, change in CHANGES.items():
        with pytest.raises(StageFailure, match=f"with {name} ") as caught:
            in_process(Job(tmp_path, spec | change))
        assert caught.value.reason == "CheckpointMismatch"


def test_another_dataset_does_not_go_on_either(tmp_path, in_process):
    classification(tmp_path)
    job = Job(tmp_path, SPECS["adam, dropout, a cosine, early stopping"])
    in_process(job, 8)
    classification(tmp_path, rows=206)
    with pytest.raises(StageFailure, match="with dataset ") as caught:
        in_process(job)
    assert caught.value.reason == "CheckpointMismatch"


def test_a_new_job_of_the_same_name_starts_over(tmp_path, in_process):
    classification(tmp_path)
    spec = SPECS["adam, dropout, a cosine, early stopping"]
    expected = in_process(Job(tmp_path, spec, uid="first"))
    assert in_process(Job(tmp_path, spec | {"seed": 5}, uid="second")) != expected
    assert in_process(Job(tmp_path, spec, uid="third")) == expected


def test_a_truncated_newest_checkpoint_costs_only_its_own_steps(tmp_path, in_process):
    classification(tmp_path)
    job = Job(tmp_path, SPECS["adam, dropout, a cosine, early stopping"])
    expected = in_process(job)
    shutil.rmtree(job.checkpoints)
    in_process(job, 20)
    newest = next(max(job.checkpoints.glob("step-*")).glob("*.safetensors"))
    os.truncate(newest, newest.stat().st_size // 2)
    assert in_process(job) == expected


def test_a_mismatch_is_told_by_the_pods(tmp_path):
    classification(tmp_path)
    spec = SPECS["a linear model, a checkpoint at every step"]
    succeed(Job(tmp_path, spec))
    # As if that attempt had not come to its end: what it has made would count.
    shutil.rmtree(tmp_path / ".results")
    error = fail(Job(tmp_path, spec | {"seed": 3}))
    assert error.reason == "CheckpointMismatch"
    assert Path(tmp_path / "model/model.safetensors").exists(), "the old model is not touched"
