"""`trainingjob generate` says what is in its way; tests/local has a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.core.world import manifest
from trainingjob.cli.main import main
from trainingjob.local.store import Workspace

WORDS = {"type": "languageModel", "text": "body"}


def stored(root: Path, task: dict[str, Any], phase: str | None) -> None:
    value = manifest()
    value["metadata"]["name"] = "small"
    if task["type"] == "languageModel":
        value["spec"] |= {
            "task": task,
            "preprocess": {
                "input": {"uri": "pvc://data/x.json", "format": "json"},
                "tokenize": {"vocabSize": 300, "sequenceLength": 8},
            },
            "train": {"command": ["python", "x.py"]},
        }
        del value["spec"]["evaluate"]
    if phase is not None:
        value["status"] = {"stages": [{"name": "train", "phase": phase}]}
    Workspace(root).home("default", "small").save(value)


@pytest.mark.parametrize(
    ("task", "phase", "arguments", "words"),
    [
        (WORDS, None, ["nobody", "a"], "no job nobody in"),
        ({"type": "classification"}, "Succeeded", ["small", "a"], "is of task.type classification"),
        (WORDS, None, ["small", "a"], "has no model yet: its train stage is Pending"),
        (WORDS, "Running", ["small", "a"], "has no model yet: its train stage is Running"),
        (WORDS, "Failed", ["small", "a"], "`trainingjob explain small` tells why"),
        (WORDS, "Succeeded", ["small", "a" * (2**20 + 1)], "the text is longer than 1 MiB"),
    ],
)
def test_what_is_in_the_way_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: dict[str, Any],
    phase: str | None,
    arguments: list[str],
    words: str,
) -> None:
    stored(tmp_path, task, phase)
    assert main(["generate", *arguments, "--work-dir", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("tokens", "0"), ("tokens", "4097"), ("tokens", "x"), ("temperature", "-1"), ("seed", "1.5")],
)
def test_numbers_are_bounded(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", "small", "a", f"--{option}", value])
    assert caught.value.code == 2
    assert f"{value!r} is no number from" in capsys.readouterr().err
