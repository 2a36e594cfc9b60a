"""`trainingjob rerun`: a real job once more, from one of its stages."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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


KEEPS = """
import os, pathlib
names = ("INPUT", "OUTPUT", "CHECKPOINT")
data, out, saved = (pathlib.Path(os.environ[f"TRAININGJOB_{name}_DIR"]) for name in names)
assert list((data / "train").glob("*.parquet")), data
(saved / "last").write_text("1")
(out / "notes.txt").write_text("mine")
"""


def test_what_the_policy_does_not_keep_is_removed_and_made_again(tmp_path):
    write_csv(tmp_path / "data/in.csv", rows())
    manifest = base()
    manifest["spec"]["train"] = {"script": {"inline": KEEPS}}
    del manifest["spec"]["evaluate"]
    manifest["spec"]["policy"] = {"retain": {"checkpoints": "never", "datasets": "onFailure"}}
    place = tmp_path / ".trainingjob/claims/runs/default/small"
    for outcome in (
        run(tmp_path, write_job(tmp_path, manifest)),
        rerun(tmp_path, "--from", "train"),
    ):
        assert outcome.code == 0, outcome.stderr
        assert outcome.status["cleanup"]["phase"] == "Succeeded"
        assert "checkpoints and datasets: removed" in outcome.stderr
        left = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
        records = {f".results/{stage}.json" for stage in ("preprocess", "train")}
        assert left == {"dataset/manifest.json", "model/notes.txt", *records}
    assert [stage["attempt"] for stage in outcome.status["stages"]] == [2, 3]


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


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The job's manifest with another edit."""
    manifest = base()
    change(manifest["spec"])
    return write_job(folder, manifest)


def more_epochs(spec: dict[str, Any]) -> None:
    spec["train"]["epochs"] = 3


def other_split(spec: dict[str, Any]) -> None:
    spec["preprocess"]["split"]["seed"] = 2


def other_label(spec: dict[str, Any]) -> None:
    spec["task"]["label"] = "x"


def other_storage(spec: dict[str, Any]) -> None:
    spec["storage"]["uri"] = "pvc://elsewhere"


def a_gate(spec: dict[str, Any]) -> None:
    spec["evaluate"]["gates"] = [{"metric": "accuracy", "min": 0.5}]


def both(spec: dict[str, Any]) -> None:
    more_epochs(spec)
    other_split(spec)


# what was edited -> from where, what would have had to run again
KEPT = {
    "the dataset's split": (other_split, "train", "preprocess.split.seed: 1 -> 2"),
    "the split and the training": (both, "train", "preprocess.split.seed: 1 -> 2"),
    "the label": (other_label, "train", 'spec.task.label: "label" -> "x"'),
    "the storage": (other_storage, "evaluate", "spec.storage.uri"),
    "the training": (more_epochs, "evaluate", "spec.train.epochs: 2 -> 3"),
}


def test_an_edited_manifest_is_used_or_refused_with_words(tmp_path):
    write_csv(tmp_path / "data/in.csv", rows())
    first = run(tmp_path, write_job(tmp_path, base()))
    assert first.code == 0, first.stderr

    for what, (change, stage, words) in KEPT.items():
        edited(tmp_path, change)
        refused = rerun(tmp_path, "--from", stage)
        assert refused.code == 2, what
        assert words in refused.stderr, what
        again = "train" if change is more_epochs else "preprocess"
        assert f"Run them again with --from {again}, or undo the change" in refused.stderr, what

    edited(tmp_path, lambda spec: spec["train"].update(epochs="many"))
    wrong = rerun(tmp_path, "--from", "train")
    assert wrong.code == 2
    assert "job.yaml:" in wrong.stderr and "spec.train.epochs" in wrong.stderr
    stored = json.loads(cli(tmp_path, "get", "small", "-o", "json").stdout)
    assert stored["status"] == first.status, "what was refused has changed nothing"

    edited(tmp_path, more_epochs)
    write_csv(tmp_path / "data/in.csv", rows(190))
    trained = rerun(tmp_path, "--from", "train")
    assert trained.code == 0, trained.stderr
    assert "by job.yaml as it is now: spec.train.epochs: 2 -> 3" in trained.stderr
    assert "what preprocess has read has changed since: pvc://data/in.csv (" in trained.stderr
    assert "`trainingjob rerun small --from preprocess` makes it anew" in trained.stderr
    assert stages(trained)["train"]["outputs"]["epochs"] == 3
    assert stages(trained)["preprocess"] == stages(first)["preprocess"]
    assert trained.object["metadata"]["generation"] == 2

    edited(tmp_path, lambda spec: (more_epochs(spec), a_gate(spec)))
    judged = rerun(tmp_path, "--from", "evaluate")
    assert judged.code == 0, judged.stderr
    (metric,) = judged.status["evaluation"]["metrics"]
    assert metric["min"] == 0.5 and metric["passed"] is True
    assert stages(judged)["train"] == stages(trained)["train"]


def test_a_manifest_that_is_gone_or_another_is_told(tmp_path):
    job = write_job(tmp_path, python("print('first')"))
    assert run(tmp_path, job).code == 0
    job.rename(tmp_path / "kept.yaml")
    gone = rerun(tmp_path)
    assert gone.code == 0, gone.stderr
    assert "by the manifest that it was run with: job.yaml is gone" in gone.stderr

    other = python("print('other')")
    other["metadata"]["name"] = "other"
    write_job(tmp_path, other)
    assert "job.yaml has another job by now" in rerun(tmp_path).stderr
    named = rerun(tmp_path, "-f", "job.yaml")
    assert named.code == 2
    assert "job.yaml: no TrainingJob small in it" in named.stderr

    (tmp_path / "kept.yaml").write_text((tmp_path / "kept.yaml").read_text().replace("fir", "la"))
    assert rerun(tmp_path, "-f", "kept.yaml").code == 0
    assert "last" in cli(tmp_path, "logs", "small").stdout


def interrupted_in_training(folder: Path, train: dict[str, Any]) -> Path:
    """A job of whose stages the first is done."""
    write_csv(folder / "data/in.csv", rows())
    manifest = base()
    manifest["spec"]["train"] = train
    job = write_job(folder, manifest)
    runner = start(folder, "run", str(job))
    checkpoints = folder / ".trainingjob/claims/runs/default/small/checkpoints"
    wait_for(lambda: any(checkpoints.glob("[!.]*")), 60)
    runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=60)
    assert runner.returncode == 130
    return job


def save(job: Path, manifest: dict[str, Any]) -> None:
    job.write_text(yaml.safe_dump(manifest), encoding="utf-8")


WAITS = FIRST_WAITS + (
    "import sys\nopen(os.environ['TRAININGJOB_OUTPUT_DIR'] + '/weights', 'w').write(sys.argv[1])\n"
)


def test_an_interrupted_run_goes_on_by_the_edited_manifest(tmp_path):
    """Own code keeps its checkpoints: it is asked to go on, and sees the new arguments."""
    job = interrupted_in_training(tmp_path, {"script": {"inline": WAITS}, "args": ["1"]})
    manifest = yaml.safe_load(job.read_text())
    preprocess = manifest["spec"]["preprocess"]

    manifest["spec"]["preprocess"] = {**preprocess, "steps": [{"dropna": {}}]}
    save(job, manifest)
    refused = run(tmp_path, job)
    assert refused.code == 2
    assert "spec.preprocess.steps" in refused.stderr
    assert "Undo the change to go on, or start over with --fresh" in refused.stderr

    manifest["spec"]["preprocess"] = preprocess
    manifest["spec"]["train"]["args"] = ["2"]
    del manifest["spec"]["evaluate"]
    save(job, manifest)
    write_csv(tmp_path / "data/in.csv", rows(190))
    done = run(tmp_path, job)
    assert done.code == 0, done.stderr
    assert 'spec.train.args: ["1"] -> ["2"]' in done.stderr
    assert "what preprocess has read has changed since: pvc://data/in.csv (" in done.stderr
    assert [stage["attempt"] for stage in done.status["stages"]] == [1, 2]
    model = tmp_path / ".trainingjob/claims/runs/default/small/model/weights"
    assert model.read_text() == "2"


def test_built_in_training_starts_over_when_its_settings_were_edited(tmp_path):
    train = {
        "model": {"mlp": {"hidden": []}},
        "epochs": 100_000,
        "checkpoint": {"everySteps": 1},
    }
    job = interrupted_in_training(tmp_path, train)
    manifest = yaml.safe_load(job.read_text())
    manifest["spec"]["train"]["epochs"] = 2
    del manifest["spec"]["evaluate"]
    save(job, manifest)
    done = run(tmp_path, job)
    assert done.code == 0, done.stderr
    assert "; train starts over, since its checkpoints are of the manifest before" in done.stderr
    assert stages(done)["train"]["outputs"]["epochs"] == 2
    assert stages(done)["preprocess"]["attempt"] == 1


@pytest.mark.parametrize("stage", ["deploy", ""])
def test_a_stage_that_there_is_not_is_wrong_usage(tmp_path, stage):
    assert cli(tmp_path, "rerun", "small", "--from", stage).code == 2
