"""The whole digits job ÷ the same stage commands run bare, one after another."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages

EXAMPLE = Path(__file__).parents[2] / "examples/digits"
ROUNDS = 3


def through_the_runner(work: Path) -> float:
    """Seconds of `trainingjob run`."""
    begun = time.perf_counter()
    subprocess.run(
        [
            Path(sys.executable).with_name("trainingjob"),
            "run",
            EXAMPLE / "job.yaml",
            "--work-dir",
            work,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def bare(work: Path) -> float:
    """Seconds of the same commands with nothing around them: no runner, no status, no logs."""
    manifest = yaml.safe_load((EXAMPLE / "job.yaml").read_text(encoding="utf-8"))
    manifest["metadata"]["uid"] = "bare"
    job = TrainingJob.from_dict(manifest)
    claims = work / "claims"
    (claims / "training").mkdir(parents=True)
    (claims / "datasets").symlink_to(EXAMPLE / "datasets")
    begun = time.perf_counter()
    for stage in stages.of(job):
        gang = [
            subprocess.Popen(
                [sys.executable, "-m", "trainingjob.runtime"],
                env=environment(pod, work, number),
                cwd=work,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number, pod in enumerate(stage.pods(job, 1, Settings()))
        ]
        if max(process.wait() for process in gang) != 0:
            raise SystemExit(f"{stage.name} failed when run bare")
    return time.perf_counter() - begun


def environment(pod: dict, work: Path, number: int) -> dict[str, str]:
    """The pod's variables as a shell script would set them."""
    known = {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}
    known |= {
        "TRAININGJOB_CLAIMS_DIR": str(work / "claims"),
        "TRAININGJOB_RESULT_FILE": str(work / f"result-{number}"),
        "TRAININGJOB_SPARK_MASTER": "local[*]",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29611",
    }

    def expand(text: str) -> str:
        return re.sub(
            r"\$\$|\$\(([^)]*)\)",
            lambda match: "$" if match[0] == "$$" else known.get(match[1], match[0]),
            text,
        )

    return {**os.environ, **{name: expand(value) for name, value in known.items()}}


def main() -> None:
    pairs = []
    for round_number in range(ROUNDS + 1):
        times = []
        for measure in (through_the_runner, bare):
            work = Path(tempfile.mkdtemp(prefix="trainingjob-bench-"))
            times.append(measure(work))
            shutil.rmtree(work)
        if round_number:  # the first warms the caches
            pairs.append(times)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"digits job: {ours:.2f} s, its commands run bare: {theirs:.2f} s,"
        f" ratio {ratio:.3f} (goal ≤ 1.10)"
    )


if __name__ == "__main__":
    main()
