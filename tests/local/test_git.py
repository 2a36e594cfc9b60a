"""Whole jobs whose code is a commit, from git's own server on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.git_server import repository, serving

from .harness import base, run, write_csv, write_job

PASSWORD = "hunter2-of-the-test"
PREPARE = """
from lib.clean import larger
def preprocess(frame, context):
    return larger(frame)
"""
TRAIN = """
import os, sys
from pathlib import Path
import lib.clean
assert sys.argv[1] == "--rank=" + os.environ["RANK"]
(Path(os.environ["TRAININGJOB_OUTPUT_DIR"]) / f"model-{os.environ['RANK']}").write_text("x")
# What own code finds of the credentials, wherever it looks.
secret = "hunter" + "2"
found = [name for name, value in os.environ.items() if secret in value]
files = [path for path in Path(os.environ["TRAININGJOB_CODE_FILES"]).rglob("*") if path.is_file()]
found += [str(path) for path in files if secret in path.read_text()]
assert not found, found
"""
FILES = {
    "jobs/preprocess.py": PREPARE,
    "jobs/train.py": TRAIN,
    "jobs/lib/__init__.py": "",
    "jobs/lib/clean.py": "def larger(frame):\n    return frame[frame.a > 1]\n",
    "README.md": "not of the code",
}


def job(url: str, commit: str, **spec: Any) -> dict[str, Any]:
    made = base()
    git = {"url": url, "commit": commit, "path": "jobs", "credentialsSecret": {"name": "reader"}}
    made["metadata"]["name"] = "git"
    del made["spec"]["evaluate"]
    made["spec"]["preprocess"] = {
        "engine": "pandas",
        "input": {"uri": "pvc://data/in.csv", "format": "csv"},
        "split": {"test": 0.2, "seed": 1},
        "code": {"git": git},
    }
    made["spec"]["train"] = {
        "procsPerNode": 1,
        "nodes": 2,
        "code": {"git": git},
        "args": ["--rank=$(RANK)"],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
    }
    made["spec"] |= spec
    return made


def data(folder: Path) -> None:
    rows = [{"a": n, "label": "ab"[n % 2]} for n in range(20)]
    write_csv(folder / ".trainingjob/claims/data/in.csv", rows)


def test_a_job_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = repository(tmp_path / "served/repo", FILES)
    monkeypatch.setenv("TRAININGJOB_GIT_PASSWORD", PASSWORD)
    data(tmp_path)
    with serving(tmp_path / "served") as server:
        server.password = PASSWORD
        done = run(tmp_path, write_job(tmp_path, job(f"{server.url}/repo", commit)))
    assert done.code == 0, done.stdout + done.stderr
    stages = {stage["name"]: stage for stage in done.status["stages"]}
    assert stages["preprocess"]["phase"] == "Succeeded"
    assert "18 rows" in done.stderr
    folder = tmp_path / ".trainingjob"
    models = folder.glob("claims/runs/default/git/model/model-*")
    assert sorted(path.name for path in models) == ["model-0", "model-1"]
    logs = "".join(path.read_text() for path in folder.rglob("*log*") if path.is_file())
    assert "code: 4 files" in logs
    assert f"of {server.url}/repo jobs at {commit[:12]}, sha256:" in logs
    for path in folder.rglob("*"):
        assert not path.is_file() or PASSWORD not in path.read_text(errors="replace"), path
    assert PASSWORD not in done.stdout + done.stderr


def test_a_commit_that_is_not_there_ends_the_job_at_once(tmp_path: Path) -> None:
    repository(tmp_path / "served/repo", FILES)
    data(tmp_path)
    with serving(tmp_path / "served") as server:
        done = run(tmp_path, write_job(tmp_path, job(f"{server.url}/repo", "a" * 40)))
    status = done.status
    assert (done.code, status["reason"]) == (1, "RepositoryInvalid")
    assert f"/repo has no commit {'a' * 40}" in status["message"]
    assert [one["reason"] for one in status["history"]] == ["RepositoryInvalid"]
