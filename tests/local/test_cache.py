"""Stages that are restored and not computed, across runs and jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .harness import Outcome, base, cli, rows, run, write_csv, write_job

RUNS = ".trainingjob/claims/runs/default"


def job(name: str, **train: Any) -> dict[str, Any]:
    manifest = base()
    manifest["metadata"]["name"] = name
    manifest["spec"]["policy"] = {"cache": True, "retries": {"infrastructure": 0}}
    manifest["spec"]["train"] |= train
    return manifest


def trained(name: str, **train: Any) -> dict[str, Any]:
    """Without an evaluation, which is never restored."""
    manifest = job(name, **train)
    del manifest["spec"]["evaluate"]
    return manifest


def own_code(name: str, script: str, **train: Any) -> dict[str, Any]:
    manifest = trained(name)
    manifest["spec"]["train"] = {"script": {"inline": script}, **train}
    return manifest


def go(folder: Path, manifest: dict[str, Any]) -> Outcome:
    outcome = run(folder, write_job(folder, manifest))
    assert outcome.code == 0, outcome.stderr
    return outcome


def cached(outcome: Outcome) -> list[bool]:
    """By stage."""
    return [stage.get("cached", False) for stage in outcome.status["stages"]]


def outputs(outcome: Outcome, stage: int) -> dict[str, Any]:
    """What the stage left behind, wherever it lies."""
    return outcome.status["stages"][stage]["outputs"] | {"uri": ""}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """What the files have, by folder: in the names of a dataset's is a stamp of its writing, which
    its manifest has, too."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return sorted((str(path.parent.relative_to(folder)), path.read_bytes()) for path in found)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder in which the job ``first`` has run."""
    folder = tmp_path_factory.mktemp("cache")
    write_csv(folder / "data/in.csv", rows())
    outcome = go(folder, job("first"))
    assert cached(outcome) == [False, False, False]
    return folder, outcome


def test_a_second_run_restores_what_the_first_has_made(first: tuple[Path, Outcome]) -> None:
    folder, before = first
    model = folder / RUNS / "first/model"
    inode = model.stat().st_ino
    again = go(folder, job("first"))
    assert cached(again) == [True, True, False]
    assert [outputs(again, stage) for stage in (0, 1)] == [outputs(before, s) for s in (0, 1)]
    assert again.metrics() == before.metrics()
    assert model.stat().st_ino == inode, "what is in its place already is not copied"


def test_another_job_has_the_artefacts_for_its_own(first: tuple[Path, Outcome]) -> None:
    folder, before = first
    path = write_job(folder, job("second"))
    said = cli(folder, "run", str(path)).stdout
    assert said.count("restored from the cache") == 2, said
    stored = json.loads(cli(folder, "get", "second", "-o", "json").stdout)
    again = Outcome(0, json.dumps(stored), "")
    assert cached(again) == [True, True, False]
    assert [outputs(again, stage) for stage in (0, 1)] == [outputs(before, s) for s in (0, 1)]
    for name in ("dataset", "model"):
        mine = folder / RUNS / "second" / name
        assert contents(mine) == contents(folder / RUNS / "first" / name)
        assert str(again.status["stages"]).count(f"pvc://runs/default/second/{name}'") == 1
    told = cli(folder, "explain", "second").stdout
    assert told.count("restored from the cache") == 2, told


Change = Callable[[Path, dict[str, Any]], None]


def another_row(folder: Path, spec: dict[str, Any]) -> None:
    write_csv(folder / "data/in.csv", [rows()[0] | {"x": 7.5}, *rows()[1:]])


def a_step(folder: Path, spec: dict[str, Any]) -> None:
    spec["preprocess"]["steps"] = [{"scale": {}}]


def another_rate(folder: Path, spec: dict[str, Any]) -> None:
    spec["train"]["optimizer"] = {"adam": {"learningRate": 0.01}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (another_row, [False, False]),
        (a_step, [False, False]),
        (another_rate, [True, False]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_downstream_of_a_change_is_computed(
    first: tuple[Path, Outcome], change: Change, expected: list[bool]
) -> None:
    folder, _ = first
    write_csv(folder / "data/in.csv", rows())
    manifest = trained(change.__name__.replace("_", "-"))
    change(folder, manifest["spec"])
    assert cached(go(folder, manifest)) == expected


def test_it_is_said_what_is_not_cached_and_why(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    manifest = own_code("own", "pass", envFrom=[{"secretRef": {"name": "s3"}}])
    said = cli(tmp_path, "run", str(write_job(tmp_path, manifest))).stdout
    assert "train is not cached: it is own code with envFrom" in said


def test_a_damaged_model_is_made_anew(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    before = go(tmp_path, trained("one"))
    weights = tmp_path / RUNS / "one/model/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = go(tmp_path, trained("two"))
    assert cached(again) == [True, False]
    assert outputs(again, 1)["digest"] == outputs(before, 1)["digest"]
    assert "not as it was recorded" in cli(tmp_path, "logs", "two", "--stage", "train").stdout
    assert cached(go(tmp_path, trained("one"))) == [True, True], "from two, and repaired"
    assert weights.read_bytes() == whole


def train_logs(folder: Path, name: str) -> list[str]:
    pods = folder / ".trainingjob/default" / name / "pods"
    return [(pods / f"{name}-train-1-{node}/log").read_text() for node in (0, 1)]


def test_a_gang_is_restored_by_its_first_node(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    assert cached(go(tmp_path, trained("one", nodes=2))) == [False, False]
    again = go(tmp_path, trained("two", nodes=2))
    assert cached(again) == [True, True]
    assert "history" not in again.status or again.status["history"] == []
    logs = train_logs(tmp_path, "two")
    assert "cache: restored" in logs[0]
    assert "waiting for node 0" in logs[1]
    assert "training on" not in "".join(logs)
    # Node 0 finds that the record promised too much: all train.
    (tmp_path / RUNS / "one/model/config.json").unlink()
    third = go(tmp_path, trained("three", nodes=2))
    assert cached(third) == [True, False]
    logs = train_logs(tmp_path, "three")
    assert "waiting for node 0" in logs[1]
    assert "training on" in logs[0]


SHARDS = """
import os, pathlib
folder = pathlib.Path(os.environ["TRAININGJOB_OUTPUT_DIR"])
(folder / f"shard-{os.environ['RANK']}").write_text(os.environ["TRAININGJOB_INPUT_DIR"])
print("own code ran")
"""
RESUMES = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["TRAININGJOB_CHECKPOINT_DIR"])
if "TRAININGJOB_RESUME_FROM" not in os.environ:
    (folder / "one").touch()
    sys.exit(1)
pathlib.Path(os.environ["TRAININGJOB_OUTPUT_DIR"], "model.bin").write_text("a model")
"""


def test_own_code_that_never_meets_is_not_run_on_any_node(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    go(tmp_path, own_code("one", SHARDS, procsPerNode=2))
    again = go(tmp_path, own_code("two", SHARDS, procsPerNode=2))
    assert cached(again) == [True, True]
    assert sorted(files(tmp_path / RUNS / "two/model")) == ["shard-0", "shard-1"]
    assert "own code ran" not in cli(tmp_path, "logs", "two", "--stage", "train").stdout
    changed = go(tmp_path, own_code("two", SHARDS + "\n# changed", procsPerNode=2))
    assert cached(changed) == [True, False]


def test_own_code_that_went_on_from_a_checkpoint_is_not_kept(tmp_path: Path) -> None:
    write_csv(tmp_path / "data/in.csv", rows())
    manifest = own_code("one", RESUMES)
    manifest["spec"]["policy"]["retries"] = {"application": 1}
    for expected in ([False, False], [True, False]):
        outcome = go(tmp_path, manifest)
        assert cached(outcome) == expected
        assert outcome.status["stages"][1]["attempt"] == 2
