"""Running whole jobs as a user does: the CLI in a process of its own."""

from __future__ import annotations

import copy
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CLI = [str(Path(sys.executable).with_name("trainingjob"))]
# A whole small job takes 10 s on a quiet machine.
DEADLINE_SECONDS = 180


@dataclass
class Outcome:
    """What a run of the CLI left behind."""

    code: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    @property
    def object(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    @property
    def status(self) -> dict[str, Any]:
        return self.object["status"]

    def metrics(self) -> dict[str, float]:
        return {m["name"]: m["value"] for m in self.status["evaluation"]["metrics"]}


def base() -> dict[str, Any]:
    """A job of seconds: pandas, a linear model, one process, a claim `data` beside it."""
    return copy.deepcopy(
        {
            "apiVersion": "trainingjob.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "small"},
            "spec": {
                "task": {"type": "classification", "label": "label"},
                "storage": {"uri": "pvc://runs"},
                "preprocess": {
                    "engine": "pandas",
                    "input": {"uri": "pvc://data/in.csv", "format": "csv"},
                    "split": {"seed": 1, "stratify": True},
                },
                "train": {
                    "model": {"mlp": {"hidden": []}},
                    "epochs": 2,
                    "optimizer": {"adam": {"learningRate": 0.05}},
                },
                "evaluate": {"metrics": ["accuracy"]},
            },
        }
    )


def rows(count: int = 200) -> list[dict[str, Any]]:
    """Two separable classes."""
    rng = random.Random(5)
    return [
        {
            "x": round(rng.gauss(2.0 * (i % 2), 0.5), 6),
            "y": round(rng.gauss(-1.0 * (i % 2), 0.5), 6),
            "label": "ab"[i % 2],
        }
        for i in range(count)
    ]


def write_csv(path: Path, data: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(data[0]))
        writer.writeheader()
        writer.writerows(data)


def write_job(folder: Path, manifest: dict[str, Any], *others: dict[str, Any]) -> Path:
    """The manifest and its ConfigMaps as one file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump_all([manifest, *others]), encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def start(
    folder: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    interrupt: signal.Handlers = signal.SIG_DFL,
) -> subprocess.Popen[str]:
    """`trainingjob ARGUMENTS` in ``folder``, in a process group of its own, to which SIGINT is what
    ``interrupt`` says."""
    return subprocess.Popen(
        [*prefix, *CLI, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background ignores it, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, interrupt),
    )


def cli(
    folder: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    seconds: float = DEADLINE_SECONDS,
) -> Outcome:
    """Run it to its end, which must come within ``seconds``."""
    begun = time.monotonic()
    process = start(folder, *arguments, prefix=prefix)
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        stdout, stderr = process.communicate(timeout=60)
        raise AssertionError(f"too slow\n{stdout}\n{stderr}") from None
    return Outcome(process.returncode, stdout, stderr, time.monotonic() - begun)


def run(folder: Path, path: Path, *arguments: str, **options: Any) -> Outcome:
    """`trainingjob run PATH -o json`; ``options`` are those of ``cli``."""
    return cli(folder, "run", str(path), "-o", "json", *arguments, **options)


def ours(folder: Path) -> list[str]:
    """Command lines of processes that work for a job of this folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = environ.read_bytes().decode(errors="replace")
            command = (environ.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if "TRAININGJOB_POD_UID=" in text and str(folder) in text:
            found.append(command)
    return found
