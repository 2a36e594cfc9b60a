"""What stages read from outside, and how a change of it is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.local import inputs


def job(uri: str, split: Any = None, **train: Any) -> TrainingJob:
    spec = {
        "task": {"type": "classification", "label": "y"},
        "storage": {"uri": "pvc://runs"},
        "preprocess": {
            "engine": "pandas",
            "input": {"uri": uri, "format": "csv"},
            "split": split or {},
        },
        "train": {"command": ["python", "x.py"], **train},
    }
    if "dataset" in train:
        del spec["preprocess"]
    meta = {"name": "small", "namespace": "default"}
    return TrainingJob.from_dict(
        {
            "apiVersion": "trainingjob.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": meta,
            "spec": spec,
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("in.csv", "months/01.csv", "months/02.csv", "code.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x,y\n1,2\n")
    return tmp_path


def known(stage: Any, of: TrainingJob, data: Path) -> list[str]:
    return sorted(inputs.stamps(of, stage, {"data": data}))


def test_the_files_that_a_stage_reads(data):
    months = ["pvc://data/months/01.csv", "pvc://data/months/02.csv"]
    assert known("preprocess", job("pvc://data/in.csv"), data) == ["pvc://data/in.csv"]
    assert known("preprocess", job("pvc://data/months"), data) == months
    assert known("preprocess", job("pvc://data/*/0?.csv"), data) == months
    assert known("preprocess", job(f"file://{data}/in.csv"), data) == [f"{data}/in.csv"]
    split = {"files": {"test": "pvc://data/in.csv"}}
    both = ["pvc://data/in.csv", *months]
    assert known("preprocess", job("pvc://data/months", split), data) == both
    assert known("preprocess", job("pvc://data/nothing.csv"), data) == []
    assert known("preprocess", job("s3://bucket/in.csv"), data) == []
    assert known("train", job("pvc://data/in.csv"), data) == [], "what preprocess has made"
    tables = {"months": {"uri": "pvc://data/months", "format": "csv"}}
    spec = job("pvc://data/in.csv").to_dict()
    spec["spec"]["preprocess"] |= {
        "inputs": tables,
        "steps": [{"sql": {"query": "select * from months"}}],
    }
    assert known("preprocess", TrainingJob.from_dict(spec), data) == ["pvc://data/in.csv", *months]
    given = job("", dataset={"uri": "pvc://data/months"}, args=[str(data / "code.py"), "/bin/sh"])
    assert known("train", given, data) == [f"{data}/code.py", *months]


def test_a_pretrained_model_is_read_by_training_and_its_tokenizer_by_preprocessing(
    data: Path,
) -> None:
    (data / "llama").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (data / "llama" / name).write_text("{}")
    spec = job("pvc://data/in.csv").to_dict()
    spec["spec"] |= {
        "task": {"type": "languageModel", "text": "x"},
        "train": {"model": {"pretrained": {"uri": "pvc://data/llama"}}},
    }
    spec["spec"]["preprocess"]["tokenize"] = {"sequenceLength": 8}
    both = ["pvc://data/llama/config.json", "pvc://data/llama/tokenizer.json"]
    words = TrainingJob.from_dict(spec)
    assert known("preprocess", words, data) == ["pvc://data/in.csv", both[1]]
    assert known("train", words, data) == both


# what happens -> what is told
CHANGES = {
    "nothing": (lambda months: None, ""),
    "it is touched": (lambda months: os.utime(months / "01.csv", (1, 1)), ""),
    "it grows": (
        lambda months: (months / "01.csv").write_text("x,y\n1,2\n3,4\n"),
        "pvc://data/months/01.csv (8 -> 12 bytes)",
    ),
    "another content of the same size": (
        lambda months: (months / "01.csv").write_text("x,y\n1,3\n"),
        "pvc://data/months/01.csv (written anew)",
    ),
    "a file more and a file less": (
        lambda months: (months / "02.csv").rename(months / "03.csv"),
        "pvc://data/months/02.csv (gone), pvc://data/months/03.csv (new)",
    ),
    "many": (
        lambda months: [(months / f"{n}.csv").write_text("x") for n in range(10, 15)],
        "pvc://data/months/10.csv (new), pvc://data/months/11.csv (new), "
        "pvc://data/months/12.csv (new) and 2 more",
    ),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_told(data, change, words):
    of = job("pvc://data/months")
    before = inputs.stamps(of, "preprocess", {"data": data})
    change(data / "months")
    assert inputs.changed(before, inputs.stamps(of, "preprocess", {"data": data})) == words


def test_what_is_too_large_to_read_is_told_by_its_time(data, monkeypatch):
    monkeypatch.setattr(inputs, "_HASHED_BYTES", 7)
    of = job("pvc://data/in.csv")
    before = inputs.stamps(of, "preprocess", {"data": data})
    os.utime(data / "in.csv", (1, 1))
    after = inputs.stamps(of, "preprocess", {"data": data})
    assert inputs.changed(before, after) == "pvc://data/in.csv (written anew)"
