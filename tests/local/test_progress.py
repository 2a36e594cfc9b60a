"""What training reports while it runs, and what happens when it reports no more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster.wait import wait_for

from .harness import base, rows, start, write_csv, write_job
from .test_chaos import processes

DIGITS = Path(__file__).parents[2] / "examples/digits/datasets/digits.csv"
STEPS = 1500
SCRIPT = Path(__file__).parent / "train/hugging_face.py"


def status(folder: Path) -> dict[str, Any]:
    """As it lies in the work folder."""
    with suppress(FileNotFoundError):
        found = json.loads((folder / ".trainingjob/default/small/job.json").read_text())
        return dict(found.get("status") or {})
    return {}


def until(runner: subprocess.Popen[str], what: str, condition: Callable[[], Any]) -> Any:
    """What the condition gives while the job runs."""

    def look() -> Any:
        found = condition()
        assert found or runner.poll() is None, runner.communicate()
        return found

    return wait_for(what, look, 120)


def test_hugging_faces_trainer_reports_unchanged(tmp_path: Path) -> None:
    manifest = base()
    spec = manifest["spec"]
    spec["task"]["label"] = "target"
    spec["preprocess"]["input"]["uri"] = "pvc://data/digits.csv"
    # It reports every five seconds: it must take longer.
    env = {"STEPS": str(STEPS), "OMP_NUM_THREADS": "1"}
    variables = [{"name": name, "value": value} for name, value in env.items()]
    spec["train"] = {"script": {"inline": SCRIPT.read_text()}, "env": variables}
    del spec["evaluate"]
    (tmp_path / "data").mkdir()
    shutil.copy(DIGITS, tmp_path / "data/digits.csv")
    runner = start(tmp_path, "run", str(write_job(tmp_path, manifest)), "-o", "json")
    progress: dict[str, Any] = {}
    while "step" not in progress:
        progress = until(runner, "progress", lambda: status(tmp_path).get("progress"))
    assert progress["totalSteps"] == STEPS
    assert 0 < progress["step"] < STEPS
    assert progress["percent"] == progress["step"] * 100 // STEPS
    names = {metric["name"] for metric in progress["metrics"]}
    assert {"loss", "learning_rate"} <= names
    stdout, stderr = runner.communicate(timeout=300)
    assert runner.returncode == 0, stderr
    assert json.loads(stdout)["status"]["phase"] == "Succeeded"


def test_a_gang_with_a_rank_that_stands_still_is_restarted_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    manifest = base()
    manifest["spec"]["train"] |= {
        "nodes": 2,
        "epochs": 1000,
        "checkpoint": {"everySteps": 100},
        # What stands still does not hear SIGTERM.
        "template": {"terminationGracePeriodSeconds": 2},
    }
    del manifest["spec"]["evaluate"]
    write_csv(tmp_path / "data/in.csv", rows())
    manifest["spec"]["policy"] = {"stall": {"afterSeconds": 10, "action": "restart"}}
    runner = start(tmp_path, "run", str(write_job(tmp_path, manifest)), "-o", "json")
    until(runner, "a checkpoint", lambda: status(tmp_path).get("checkpoint"))
    watcher = start(tmp_path, "get", "-w")
    *_, last = processes(tmp_path, "train")
    os.kill(last, signal.SIGSTOP)
    begun = time.monotonic()
    failure = until(runner, "the stall", lambda: status(tmp_path).get("lastFailure"))
    assert time.monotonic() - begun < 60
    assert (failure["reason"], failure["attempt"]) == ("NoProgress", 1)
    assert "nothing new for 10 s; the last report was of step" in failure["message"]
    stdout, stderr = runner.communicate(timeout=180)
    assert runner.returncode == 0, stderr
    header, *lines = [line.split() for line in watcher.communicate(timeout=30)[0].splitlines()]
    assert header == ["NAMESPACE", "NAME", "PHASE", "STAGE", "PROGRESS", "SCORE", "AGE"]
    assert all(line[:2] == ["default", "small"] for line in lines)
    assert len({tuple(line[:-1]) for line in lines}) > 3, "a line at each change"
    assert lines[0][2:4] == ["Training", "train"] and lines[0][4].endswith("%")
    assert lines[-1][2] == "Succeeded"
    train = json.loads(stdout)["status"]["stages"][1]
    assert (train["attempt"], train["failures"]["infrastructure"]) == (2, 1)
    logs = (tmp_path / ".trainingjob/default/small").glob("**/*train-2-0*/log")
    assert any("resuming from checkpoint" in path.read_text() for path in logs)
