"""Where the package is installed without what an extra brings, it is said what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainingjob.cli.errors import last_words

# A module that is None there cannot be imported.
STAGE = """
import sys
sys.modules["numpy"] = None
from trainingjob.runtime import __main__ as stage
stage.run_stage = lambda: stage.import_module("trainingjob.runtime.evaluate")
sys.exit(stage.main())
"""
OPERATOR = """
import sys
sys.modules["aiohttp"] = None
from trainingjob.controller.main import main
main()
"""


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_stage_says_which_module_is_missing_and_is_not_tried_again(tmp_path: Path) -> None:
    result = tmp_path / "result"
    assert python(STAGE, TRAININGJOB_RESULT_FILE=str(result)).returncode == 1
    error = json.loads(result.read_text())["error"]
    assert error["reason"] == "ModuleMissing"
    assert "numpy" in error["message"] and "trainingjob-operator[local]" in error["message"]


def test_the_operator_says_it_without_a_traceback() -> None:
    done = python(OPERATOR)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "aiohttp" in line and "trainingjob-operator[operator]" in line


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Traceback\nModuleNotFoundError: No module named 'torch'\n", "operator[local] brings"),
        ("warning: x\nSelfTestFailed: row 5\n", "SelfTestFailed: row 5"),
        ("", "could not be run"),
    ],
)
def test_of_a_log_the_last_line_is_told(log: str, words: str) -> None:
    assert words in last_words(log)
