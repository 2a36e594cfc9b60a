"""Every example runs, and so does every command that the README shows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .harness import CLI, cli

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# manifest -> bounds of its metrics
EXPECTED = {
    "digits/job.yaml": {"accuracy": (0.95, 1.0)},
    "diabetes/job.yaml": {"r2": (0.3, 1.0)},
    "language-model/job.yaml": {"perplexity": (20, 150)},
    "own-code/job.yaml": {"accuracy": (0.9, 1.0)},
    "own-code/torchrun.yaml": {"accuracy": (0.9, 1.0)},
}


def test_every_example_is_listed():
    found = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yaml")}
    assert found == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_example_succeeds(tmp_path, name):
    outcome = cli(tmp_path, "run", str(EXAMPLES / name), "-o", "json")
    assert outcome.code == 0, outcome.stderr
    status = outcome.status
    assert status["phase"] == "Succeeded"
    assert [stage["name"] for stage in status["stages"]] == ["preprocess", "train", "evaluate"]
    for stage in status["stages"]:
        assert stage["startTime"] <= stage["completionTime"]
        assert stage["outputs"]["digest"].startswith("sha256:") or "own-code" in name
    metrics = outcome.metrics()
    for metric, (low, high) in EXPECTED[name].items():
        assert low <= metrics[metric] <= high
    for digest in ("modelDigest", "datasetDigest"):
        assert status["evaluation"][digest].startswith("sha256:")


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_command_of_the_readme_works(tmp_path):
    """In order, in one folder; `make demo` and `make test` are run by CI itself."""
    shown = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(shown) >= 8
    (tmp_path / "examples").symlink_to(EXAMPLES)
    path = os.pathsep.join([str(Path(CLI[0]).parent), os.environ["PATH"]])
    for command in shown:
        done = subprocess.run(
            command.split(),
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_the_manifest_of_the_readme_is_valid(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block is not None
    (tmp_path / "job.yaml").write_text(block[1])
    assert cli(tmp_path, "validate", "job.yaml").code == 0
