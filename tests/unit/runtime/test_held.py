"""A result that is lost with its pod is found by the next attempt, beside the artefact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.payload import EvaluatePayload, JobRef, StageResult
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.cache import held
from trainingjob.runtime.cache.key import Cacheable

from .test_cache import Runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.delenv("NODE_RANK", raising=False)
    return Runs(tmp_path)


class Stage:
    """Counts how often it is computed."""

    def __init__(self, runs: Runs, name: str) -> None:
        self.runs, self.name, self.times = runs, name, 0

    def payload(self, uid: str, attempt: int = 1) -> Cacheable:
        made = self.runs.preprocess() if self.name == "preprocess" else self.runs.train()
        job = JobRef(namespace="team", name="a", uid=uid)
        return made.model_copy(update={"job": job, "attempt": attempt, "cache": None})

    def make(self) -> StageResult:
        self.times += 1
        if self.times > 1:
            return StageResult.model_validate(
                {"outputs": {"uri": held._output(self.payload("u")), "digest": "anew"}}
            )
        if self.name == "preprocess":
            return self.runs.make_dataset()
        return self.runs.make_model()

    def run(self, uid: str, attempt: int = 1) -> StageResult | None:
        return held.through(self.payload(uid, attempt), self.make)


@pytest.fixture(params=["preprocess", "train"])
def stage(runs: Runs, request: pytest.FixtureRequest) -> Stage:
    return Stage(runs, request.param)


def nothing(_: Runs) -> None:
    pass


def damage(path: str) -> Callable[[Runs], None]:
    def change(runs: Runs) -> None:
        for found in filter(Path.is_file, runs.root.glob(path)):
            found.write_bytes(found.read_bytes() + b"\n ")

    return change


def loss(path: str) -> Callable[[Runs], None]:
    def change(runs: Runs) -> None:
        assert [*runs.root.glob(path)]
        for found in filter(Path.is_file, [*runs.root.glob(path)]):
            found.unlink()

    return change


def cut(runs: Runs) -> None:
    for found in runs.root.glob("a/.results/*"):
        found.write_bytes(found.read_bytes()[:-40])


ANY_FILE = "a/[dm]*/**/*"


@pytest.mark.parametrize(
    ("what", "first", "change", "then", "times"),
    [
        ("the pod went with its result", "u", nothing, "u", 1),
        ("the status was erased", "u", nothing, "u", 1),
        ("the status of a job that was run again was erased", "u-7", nothing, "u", 1),
        ("the stage is run again", "u", nothing, "u-2", 2),
        ("it is run again once more", "u-2", nothing, "u-4", 2),
        ("another job has the name", "u", nothing, "v", 2),
        ("another job, whose uid begins so", "uu", nothing, "u", 2),
        ("the artefact is damaged", "u", damage(ANY_FILE), "u", 2),
        ("the artefact is gone", "u", loss(ANY_FILE), "u", 2),
        ("the record is damaged", "u", damage("a/.results/*"), "u", 1),
        ("the record is cut", "u", cut, "u", 2),
        ("the record is gone", "u", loss("a/.results/*"), "u", 2),
    ],
)
def test_a_stage_is_computed_once_a_run(
    stage: Stage, what: str, first: str, change: Callable[[Runs], None], then: str, times: int
) -> None:
    made = stage.run(first)
    change(stage.runs)
    found = stage.run(then, attempt=2)
    assert stage.times == times, what
    if times == 1:
        assert found == made


def test_what_fails_is_not_held(stage: Stage) -> None:
    def fails() -> StageResult:
        raise StageFailure("DiskFull", "no room")

    with pytest.raises(StageFailure):
        held.through(stage.payload("u"), fails)
    assert stage.run("u", attempt=2) is not None
    assert stage.times == 1


def test_storage_that_takes_no_record_fails_nobody(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.runs.root.joinpath("a").mkdir(parents=True)
    stage.runs.root.joinpath("a/.results").write_text("a file")
    assert stage.run("u") is not None
    assert "the result is not held" in capsys.readouterr().out


def test_only_the_first_pod_of_a_gang_looks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one has no result to report: it takes part, until the gang is over."""
    stage.run("u")
    monkeypatch.setenv("NODE_RANK", "1")
    stage.run("u", attempt=2)
    assert stage.times == 2


def test_an_evaluation_is_made_each_time(runs: Runs) -> None:
    """Training code could write what it is to be judged by."""
    some: dict[str, Any] = {"stage": "evaluate", "output": runs.uri("a", "evaluation")}
    payload = EvaluatePayload.model_construct(**some)
    calls: list[int] = []
    for _ in range(2):
        held.through(payload, lambda: calls.append(1))
    assert len(calls) == 2
    assert not [*runs.root.glob("**/.results")]
