"""`trainingjob rerun`: a real job once more, from one of its stages."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from .harness import Outcome, base, cli, rows, run, start, write_csv, write_job
from .test_cli import BEGAN, FIRST_WAITS, python, wait_for


def rerun(folder: Path, *arguments: str) -> Outcome:
    return cli(folder, "rerun", "small", "-o", "json", *arguments)


def stages(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in outcome.status["stages"]}


def test_training_again_starts_over_and_leaves_the_dataset_as_it_is(tmp_path):
    write_csv(tmp_path / "data/in.csv", rows())
    manifest = base()
    manifest["spec"]["train"]["checkpoint"] = {"everySteps": 1}
    first = run(tmp_path, write_job(tmp_path, manifest))
    assert first.code == 0, first.stderr
    assert list((tmp_path / ".trainingjob/claims/runs/default/small/checkpoints").glob("step-*"))
    (tmp_path / "data/in.csv").unlink()  # nobody needs it

    second = rerun(tmp_path, "--from", "train")
    assert second.code == 0, second.stderr
    assert "running small again from train" in second.stderr
    before, after = stages(first), stages(second)
    assert after["preprocess"] == before["preprocess"]
    assert [stage["attempt"] for stage in after.values()] == [1, 2, 2]
    assert after["train"]["outputs"] == before["train"]["outputs"], "the same seed"
    assert second.metrics() == first.metrics()
    assert second.status["rerun"] == "train:1"

    logs = cli(tmp_path, "logs", "small", "--stage", "train").stdout
    assert "removing the checkpoints of an earlier run" in logs
    assert "resuming from checkpoint" not in logs
    assert (
        "training on" in cli(tmp_path, "logs", "small", "--stage", "train", "--attempt", "1").stdout
    ), "the log of the attempt before is kept"

    third = cli(tmp_path, "rerun", "small", "--from", "evaluate")
    assert third.code == 0, third.stderr
    stored = json.loads(cli(tmp_path, "get", "small", "-o", "json").stdout)["status"]
    assert [stage["attempt"] for stage in stored["stages"]] == [1, 2, 3]
    assert stored["rerun"] == "evaluate:2"
    assert "small succeeded" in third.stdout


def test_a_job_that_failed_runs_again_from_its_first_stage(tmp_path):
    job = write_job(tmp_path, python("import os; os.stat('there')"))
    assert run(tmp_path, job).code == 1
    failed = rerun(tmp_path)
    assert failed.code == 1
    assert failed.status["lastFailure"]["attempt"] == 4, "two attempts each time"
    assert "after 2 attempts" in failed.status["message"]


def test_an_interrupted_rerun_goes_on_with_run(tmp_path):
    job = write_job(tmp_path, python(FIRST_WAITS))
    runner = start(tmp_path, "run", str(job))
    wait_for((tmp_path / BEGAN).exists)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=30)
    (tmp_path / BEGAN).unlink()
    runner = start(tmp_path, "rerun", "small")
    wait_for((tmp_path / BEGAN).exists)
    runner.send_signal(signal.SIGINT)
    stdout, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert "running small again from train" in stdout

    done = run(tmp_path, job)
    assert done.code == 0, done.stderr
    assert done.status["rerun"] == "train:1", "and is not asked for once more"
    (stage,) = done.status["stages"]
    assert stage["attempt"] == stage["firstAttempt"] + 1


def test_what_cannot_be_run_again_is_refused_with_what_to_do(tmp_path):
    missing = cli(tmp_path, "rerun", "small")
    assert missing.code == 2
    assert "no job small in" in missing.stderr and "trainingjob get" in missing.stderr

    job = write_job(tmp_path, python(FIRST_WAITS))
    runner = start(tmp_path, "run", str(job))
    wait_for((tmp_path / BEGAN).exists)
    running = cli(tmp_path, "rerun", "small")
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=30)
    assert running.code == 2
    assert f"already being run by process {runner.pid}; wait for it" in running.stderr

    strange = cli(tmp_path, "rerun", "small", "--from", "evaluate")
    assert strange.code == 2
    assert "has no stage evaluate; use --from with one of train" in strange.stderr


@pytest.mark.parametrize("stage", ["deploy", ""])
def test_a_stage_that_there_is_not_is_wrong_usage(tmp_path, stage):
    assert cli(tmp_path, "rerun", "small", "--from", stage).code == 2
