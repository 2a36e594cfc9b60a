"""Own code of several files in a gang, and ``$(NAME)`` in what is started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .gang import Job, fail, succeed

MAIN = """
import argparse, os, sys
import helper
from lib import data
options = argparse.ArgumentParser()
for name in ("--rank", "--code"):
    options.add_argument(name, required=True)
given = options.parse_args()
assert given.rank == os.environ["RANK"]
assert os.path.samefile(given.code, os.environ["TRAININGJOB_CODE_DIR"])
assert os.path.samefile(os.path.join(given.code, "app"), os.getcwd())
data.leave(given.rank)
"""
FILES = {
    "app/main.py": MAIN,
    "app/helper.py": "",
    "app/lib/__init__.py": "",
    "app/lib/data.py": 'def leave(rank):\n    open(f"{OUT}/{rank}", "w").write("x")\n',
    "setup.py": "",
}
FILES["app/lib/data.py"] = (
    "import os\nOUT = os.environ['TRAININGJOB_OUTPUT_DIR']\n" + (FILES["app/lib/data.py"])
)
ARGS = ["--rank=$(RANK)", "--code", "$(TRAININGJOB_CODE_DIR)"]


def job(folder: Path, files: dict[str, str] | None = None, **spec: Any) -> Job:
    code = {"inline": FILES | (files or {})}
    given = {"code": code, "workingDir": "app", "main": "main.py", "args": ARGS, **spec}
    return Job(folder, {name: value for name, value in given.items() if value is not None})


# how it is started -> ranks that leave something
STARTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "by Python, in each process": ({"nodes": 2, "procsPerNode": 2}, ["0", "1", "2", "3"]),
    "by a program of its own": (
        {"command": ["./run.sh"], "main": None, "nodes": 1, "procsPerNode": 1}, ["0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
def test_files_import_each_other(name: str, tmp_path: Path) -> None:
    spec, ranks = STARTS[name]
    run = {"app/run.sh": '#!/bin/sh\nexec python main.py "$@"\n'}
    assert succeed(job(tmp_path, run, **spec)).outputs is not None
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ranks
    said = re.search(r"code: 6 files \(\d+ B\) of the manifest, sha256:", log(tmp_path))
    assert said, log(tmp_path)


def test_what_an_early_node_writes_is_kept(tmp_path: Path) -> None:
    early = job(tmp_path, nodes=2, procsPerNode=1)
    early.late_seconds = 3.0
    (tmp_path / "model").mkdir()
    (tmp_path / "model/of-the-attempt-before").touch()
    succeed(early)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["0", "1"]


def log(folder: Path) -> str:
    return (folder / "log-0.txt").read_text()


FAULTS: dict[str, tuple[dict[str, str], dict[str, Any], str, str]] = {
    "what it raises, and where": (
        {"app/lib/data.py": "def leave(rank):\n    raise ValueError('no')\n"}, {},
        "ScriptFailed", "ValueError: no (app/lib/data.py, line 2)",
    ),
    "a module that is in none of its files": (
        {"app/helper.py": "import nowhere"}, {},
        "ModuleMissing", "No module named 'nowhere' (app/helper.py, line 1)",
    ),
    "no such file": (
        {}, {"main": None},
        "ScriptMissing", "no file train.py: set train.code.main; it has helper.py, lib/__init__.py",
    ),
    "no such folder": (
        {}, {"workingDir": "src"},
        "ScriptMissing", "the code has no folder src (train.code.workingDir); it has app, setup.py",
    ),
    "no Python": ({"app/main.py": "import"}, {}, "ScriptInvalid", "main.py is not Python: "),
    "no such program": (
        {}, {"main": None, "command": ["./$(RANK).sh"]}, "CommandNotFound", "no program ./0.sh",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_told(name: str, tmp_path: Path) -> None:
    files, spec, reason, words = FAULTS[name]
    told = fail(job(tmp_path, files, **spec))
    assert (told.reason, words in told.message) == (reason, True), told
