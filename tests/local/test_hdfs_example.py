"""``make hdfs`` and the two commands that it says: examples/hadoop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .harness import CLI, DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]


def run_example(said: list[str], folder: Path, **variables: str) -> dict[str, Any]:
    """The job, run by the commands as they are in the README, too."""
    export, run = said[:2]
    assert f"\n    {export}\n    {run}\n" in (ROOT / "examples/hadoop/README.md").read_text()
    variables |= dict(word.split("=") for word in export.split()[1:])
    program, *words = run.split()
    assert program == Path(CLI[0]).name
    done = subprocess.run(
        [*CLI, *words, "-o", "json", "--work-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.nightly
def test_make_hdfs_says_how_to_run_a_job(tmp_path: Path) -> None:
    """The other one, where Kerberos is wanted, is in test_hdfs_kerberos.py."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.hdfs.serve"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = [server.stdout.readline().strip() for _ in range(2)]
        assert run_example(said, tmp_path)["status"]["phase"] == "Succeeded"
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
