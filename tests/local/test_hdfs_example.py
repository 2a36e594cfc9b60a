"""``make hdfs`` and the two commands that it says: examples/hadoop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import CLI, DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [[], pytest.param(["--kerberos"], marks=pytest.mark.nightly)])
def test_the_commands_that_make_hdfs_says_run_a_job(arguments: list[str], tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.hdfs.serve", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        export, run = (server.stdout.readline().strip() for _ in range(2))
        assert f"\n    {export}\n    {run}\n" in (ROOT / "examples/hadoop/README.md").read_text()
        variables = dict(word.split("=") for word in export.split()[1:])
        program, *words = run.split()
        assert program == Path(CLI[0]).name
        done = subprocess.run(
            [*CLI, *words, "-o", "json", "--work-dir", str(tmp_path)],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"]["phase"] == "Succeeded"
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
