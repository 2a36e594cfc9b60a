"""SIGKILL of a rank, of the driver and of the runner at seeded moments: the outcome is the same.

"The same" means the same metrics and, bit for bit, the same model.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from trainingjob.local import survivors

from .harness import DEADLINE_SECONDS, Outcome, base, ours, run, start, write_job

DIGITS = Path(__file__).parents[2] / "examples/digits/datasets"
VICTIMS = ("rank", "driver", "runner")
# Three victims in turn. The first six have each victim twice; tests/e2e kills a driver of Spark's.
MOMENTS = [
    pytest.param(seed, marks=[pytest.mark.nightly] if seed >= 6 else []) for seed in range(24)
]
# Drivers, and once the runner.
ON_SPARK = {7, 8, 13, 19}


def job(folder: Path, engine: str) -> Path:
    manifest = base()
    manifest["metadata"]["name"] = "chaos"
    # Of which the evaluation takes the least to start.
    manifest["spec"]["task"] = {"type": "regression", "label": "target"}
    manifest["spec"]["preprocess"] |= {
        "engine": engine,
        "input": {"uri": "pvc://digits/digits.csv", "format": "csv"},
        "steps": [{"dropDuplicates": {}}, {"scale": {}}],
        "split": {"seed": 1},
    }
    if engine == "spark":
        quick = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
        manifest["spec"]["preprocess"]["sparkConf"] = quick
    manifest["spec"]["train"] = {
        "nodes": 2,
        "model": {"mlp": {"hidden": [32], "dropout": 0.2}},
        "epochs": 12,
        "checkpoint": {"everySteps": 7},
    }
    manifest["spec"]["evaluate"] = {"metrics": ["rmse", "r2"]}
    manifest["spec"]["policy"] = {"retries": {"infrastructure": 3}}
    return write_job(folder, manifest)


def arguments(path: Path) -> list[str]:
    return ["run", str(path), "-o", "json", "--claim", f"digits={DIGITS}"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Callable[[str], tuple[dict[str, Any], float]]:
    """Status and duration of a run that nobody disturbs, by engine."""

    @cache
    def found(engine: str) -> tuple[dict[str, Any], float]:
        folder = tmp_path_factory.mktemp(engine)
        outcome = run(folder, job(folder, engine), "--claim", f"digits={DIGITS}")
        assert outcome.code == 0, outcome.stderr
        return outcome.status, outcome.seconds

    return found


def processes(folder: Path, stage: str) -> list[int]:
    """Processes that work for a stage of the job in ``folder``."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = environ.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f'"stage":"{stage}"' in text and str(folder) in text:
            found.append(int(environ.parent.name))
    return sorted(found)


def kill(rng: random.Random, victim: str, folder: Path, runner: subprocess.Popen[str]) -> bool:
    """Kill the victim as soon as there is one; False when the job has ended before."""
    stage = {"rank": "train", "driver": "preprocess"}.get(victim)
    while runner.poll() is None:
        targets = [runner.pid] if stage is None else processes(folder, stage)
        if targets:
            try:
                os.kill(rng.choice(targets), signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
        time.sleep(0.005)
    return False


tried: dict[str, int] = dict.fromkeys(VICTIMS, 0)
killed: dict[str, int] = dict.fromkeys(VICTIMS, 0)


@pytest.mark.parametrize("seed", MOMENTS)
def test_sigkill_changes_nothing(tmp_path, undisturbed, seed):
    rng = random.Random(seed)
    victim = VICTIMS[seed % 3]
    engine = "spark" if seed in ON_SPARK else "pandas"
    expected, duration = undisturbed(engine)
    path = job(tmp_path, engine)
    # Any moment of the victim's life: of the stage for a rank or driver, of the job for the runner.
    share = {"rank": 0.25, "driver": 0.25, "runner": 0.9}[victim]
    delay = rng.random() * duration * share
    runner = start(tmp_path, *arguments(path))
    try:
        if victim != "runner":
            stage = {"rank": "train", "driver": "preprocess"}[victim]
            while runner.poll() is None and not processes(tmp_path, stage):
                time.sleep(0.005)
        time.sleep(delay)
        tried[victim] += 1
        killed[victim] += kill(rng, victim, tmp_path, runner)
        stdout, stderr = runner.communicate(timeout=DEADLINE_SECONDS)
    finally:
        runner.kill()
    if victim == "runner":
        until = time.monotonic() + 10
        while left := ours(tmp_path):
            assert time.monotonic() < until, f"orphans: {left}"
            time.sleep(0.05)
        if runner.returncode != 0:
            again = run(tmp_path, path, "--claim", f"digits={DIGITS}")
            stdout, stderr = again.stdout, again.stderr
    outcome = Outcome(0, stdout, stderr)
    assert outcome.status["phase"] == "Succeeded", stderr
    assert outcome.metrics() == {m["name"]: m["value"] for m in expected["evaluation"]["metrics"]}
    for digest in ("modelDigest", "datasetDigest"):
        assert outcome.status["evaluation"][digest] == expected["evaluation"][digest]
    failures = json.dumps([stage["failures"] for stage in outcome.status["stages"]])
    assert '"application": 1' not in failures, "a kill is never charged to the user's code"
    assert not ours(tmp_path)


@pytest.mark.parametrize("when", ["always", pytest.param("nightly", marks=pytest.mark.nightly)])
def test_the_moments_hit(when):
    """Half of the moments must have killed something, or the test above proves little."""
    if not all(tried.values()):
        pytest.fail("run this file as a whole")
    assert all(2 * killed[victim] >= tried[victim] for victim in VICTIMS), (when, killed, tried)


def test_sigkill_of_the_shim(tmp_path, undisturbed):
    """What stands between the runner and a pod's command: nobody is left to clear up behind it."""
    runner = start(tmp_path, *arguments(job(tmp_path, "pandas")))
    stages = ("preprocess", "train")
    try:
        for stage in stages:
            while not (shims := [pid for pid in processes(tmp_path, stage) if is_shim(pid)]):
                assert runner.poll() is None, runner.communicate()
                time.sleep(0.005)
            time.sleep(0.5)  # its command has begun
            os.kill(shims[0], signal.SIGKILL)
        stdout, stderr = runner.communicate(timeout=DEADLINE_SECONDS)
    finally:
        runner.kill()
    outcome = Outcome(runner.returncode, stdout, stderr)
    assert outcome.status["phase"] == "Succeeded", stderr
    attempts = {told["name"]: told["attempt"] for told in outcome.status["stages"]}
    assert [attempts[stage] for stage in stages] == [2, 2]
    expected, _ = undisturbed("pandas")
    assert outcome.status["evaluation"]["modelDigest"] == expected["evaluation"]["modelDigest"]
    assert not ours(tmp_path)


def is_shim(pid: int) -> bool:
    try:
        return survivors.SHIM in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
