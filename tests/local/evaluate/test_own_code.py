"""Own code that judges: what it sees and leaves, and what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.payload import INPUT_DIR, RESULT_LIMIT, Report, ScriptRef, StageResult
from trainingjob.api.v1alpha1 import Gate
from trainingjob.runtime.base import reading
from trainingjob.runtime.base.digest import digest_of_folder, sha256
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.evaluate import run

from .build import World

JUDGE = """
import json, os, sys
from pathlib import Path
out, model = Path(os.environ["TRAININGJOB_OUTPUT_DIR"]), Path(os.environ["TRAININGJOB_MODEL_DIR"])
def tell(**metrics):
    (out / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def judged(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """With a dataset, and a model of no kind that is known here."""
    world.write(["a", "b"] * 5)
    (world.model / "weights.bin").write_text("0.75")
    monkeypatch.setenv(INPUT_DIR, str(world.dataset))
    return world


def judge(world: World, source: str, *metrics: str, **more: Any) -> StageResult:
    script = ScriptRef(inline=JUDGE + source)
    found = run(world.payload(*metrics).model_copy(update={"script": script, **more}))
    assert found is not None
    return found


def failure(world: World, source: str, *metrics: str, **more: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        judge(world, source, *metrics, **more)
    assert "\n" not in caught.value.message
    assert not (world.folder / "evaluation").exists()
    return caught.value


def test_the_code_reads_all_and_its_numbers_are_judged(judged: World) -> None:
    judged.gates = [Gate.model_validate({"metric": "rows", "min": 10})]
    result = judge(
        judged,
        "import pyarrow.parquet as pq\n"
        "from glob import glob\n"
        "tables = [pq.read_table(p) for p in glob(os.environ['TRAININGJOB_INPUT_DIR'] + '/test/*')]"
        "\n"
        "dice = float((model / 'weights.bin').read_text())\n"
        "(out / 'plots').mkdir()\n"
        "(out / 'plots/curve.svg').write_text('<svg/>')\n"
        "tell(dice=dice, rows=sum(map(len, tables)), **{'recall@10': 1 / 3})\n",
        "dice",
    )
    evaluation = judged.folder / "evaluation"
    assert {m.name: m.value for m in result.metrics or ()} == {"dice": 0.75, "rows": 10.0}
    report = judged.report()
    assert report["metrics"] == {"dice": 0.75, "rows": 10.0, "recall@10": 0.3333333333}
    assert report["source"] == "ownCode"
    assert report["samples"] == result.samples == 10
    assert report["modelDigest"] == result.model_digest == digest_of_folder(judged.model)
    assert result.outputs.digest == sha256(evaluation / "metrics.json")
    assert (evaluation / "files/plots/curve.svg").read_text() == "<svg/>"
    record = json.loads((judged.folder / "accepted/metrics.json").read_text())
    assert record["metrics"] == report["metrics"]
    (published,) = record["recent"]
    assert (judged.folder / "accepted" / published / "weights.bin").read_text() == "0.75"


def test_status_has_the_first_ones_of_many_and_those_with_gates(judged: World) -> None:
    judged.gates = [Gate.model_validate({"metric": f"m{i:02}" + "x" * 37, "max": 9}) for i in (50,)]
    source = "tell(**{f'm{i:02}' + 'x' * 37: -i / 3e-200 for i in range(64)})"
    result = judge(judged, source)
    assert [m.name[:3] for m in result.metrics or ()] == [f"m{i:02}" for i in [*range(12), 50]]
    assert len(json.dumps(Report(result=result).to_dict())) < RESULT_LIMIT
    assert len(judged.report()["metrics"]) == 64


def test_what_is_lower_is_better_where_the_gate_says_so(judged: World) -> None:
    past = {"metric": "hausdorff", "noWorseThan": "lastAccepted", "higherIsBetter": False}
    judged.gates = [Gate.model_validate(past)]
    record = judged.folder / "accepted/metrics.json"
    for uid, value, kept in (("1", 3.0, 3.0), ("2", 3.5, 3.0), ("3", 2.5, 2.5)):
        judged.uid = uid
        judge(judged, f"tell(hausdorff={value})")
        assert json.loads(record.read_text())["metrics"]["hausdorff"] == kept


def test_a_folder_of_anything_will_do(judged: World) -> None:
    (judged.dataset / "manifest.json").unlink()
    (judged.dataset / "cat.png").write_text("x")
    source = "tell(seen=len([*Path(os.environ['TRAININGJOB_INPUT_DIR']).glob('*.png')]))"
    result = judge(judged, source)
    assert [m.value for m in result.metrics or ()] == [1.0]
    assert result.dataset_digest is None
    assert json.loads((judged.folder / "accepted/metrics.json").read_text())["recent"] == []


def test_and_none_at_all(judged: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INPUT_DIR)
    result = judge(judged, "tell(none='TRAININGJOB_INPUT_DIR' not in os.environ)\ntell(none=1)")
    assert [m.name for m in result.metrics or ()] == ["none"]


def test_what_is_no_metric_is_told(judged: World) -> None:
    found = failure(judged, "tell(dice=float('nan'))")
    assert (found.reason, "dice of metrics.json is nan" in found.message) == (
        "MetricsInvalid",
        True,
    )
    found = failure(judged, "tell(iou=1)", "dice")
    assert found.reason == "MetricsInvalid"
    assert "has no dice, which evaluate asks for; it has iou" in found.message
    assert not (judged.folder / "accepted").exists()


CODE_FAULTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "it raises": ("raise ValueError('no')", {}, "ScriptFailed", "ValueError: no (evaluate.py, "),
    "it is no Python": ("def", {}, "ScriptInvalid", "is not Python: invalid syntax in line 7"),
    "it lacks a module": ("import nowhere_x", {}, "ModuleMissing", "nowhere_x"),
    "it refuses its arguments": (
        "import argparse; argparse.ArgumentParser().parse_args()", {"args": ["--dice"]},
        "ArgumentsInvalid", "unrecognized arguments: --dice",
    ),
    "a program that is not there": ("", {"command": ["judge"]}, "CommandNotFound", "no program"),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE_FAULTS)
def test_what_goes_wrong_in_the_code_is_told_as_in_training(judged: World, name: str) -> None:
    source, more, reason, words = CODE_FAULTS[name]
    found = failure(judged, source, **more)
    assert (found.reason, words in found.message) == (reason, True), found.message


def test_a_model_that_is_not_there(judged: World) -> None:
    (judged.model / "weights.bin").unlink()
    assert failure(judged, "tell(dice=1)").reason == "ModelMissing"


needs_landlock = pytest.mark.skipif(not reading.possible(), reason="the kernel cannot")
WRITES = {
    "the model": "(model / 'weights.bin').write_text('1')",
    "the dataset": "(model.parent / 'dataset/manifest.json').unlink()",
    "the accepted record": "os.makedirs(model.parent / 'accepted')",
    "what was judged before": "(model.parent / 'evaluation').mkdir()",
    "by a program that it starts": (
        "import subprocess\n"
        "if subprocess.run(['touch', str(model / 'x')]).returncode: raise PermissionError"
    ),
    "by a link": "os.link(model / 'weights.bin', out / 'weights.bin')",
}  # fmt: skip


@needs_landlock
@pytest.mark.parametrize("what", WRITES)
def test_the_code_cannot_change(judged: World, what: str) -> None:
    before = digest_of_folder(judged.folder)
    found = failure(judged, f"tell(dice=1)\n{WRITES[what]}")
    assert found.reason == "ScriptFailed", found
    assert "PermissionError" in found.message or "OSError" in found.message, found.message
    assert digest_of_folder(judged.folder) == before


@needs_landlock
def test_it_writes_where_programs_do(judged: World) -> None:
    source = (
        "import tempfile\n"
        "tempfile.TemporaryFile().write(b'x')\n"
        "Path('cache').mkdir()\n"
        "Path('/dev/null').write_text('x')\n"
        "import multiprocessing.shared_memory as m\n"
        "one = m.SharedMemory(create=True, size=8); one.close(); one.unlink()\n"
        "tell(dice=1)"
    )
    assert judge(judged, source).metrics


def test_where_the_kernel_cannot_a_changed_model_is_noticed(
    judged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "possible", lambda: False)
    found = failure(judged, "tell(dice=1)\n(model / 'weights.bin').write_text('1')")
    assert found.reason == "ModelCorrupt"
    assert "the evaluation code has changed the model that it judges" in found.message
    assert not (judged.folder / "accepted").exists()


def test_nothing_that_it_has_started_goes_on(judged: World) -> None:
    source = (
        "import subprocess\n"
        "one = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "tell(pid=one.pid)"
    )
    begun = time.monotonic()
    result = judge(judged, source)
    assert time.monotonic() - begun < 60
    (pid,) = [int(m.value) for m in result.metrics or ()]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_runs_in_a_folder_of_its_own(judged: World) -> None:
    text = """echo '{"dice": 0.5}' > x && mv x $TRAININGJOB_OUTPUT_DIR/metrics.json"""
    here = {*Path.cwd().iterdir()}
    payload = judged.payload().model_copy(update={"command": ["sh", "-c", text]})
    result = run(payload)
    assert result is not None and [m.value for m in result.metrics or ()] == [0.5]
    assert {*Path.cwd().iterdir()} == here


def test_children_of_others_are_left_alone(judged: World) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        judge(judged, "tell(dice=1)")
        assert other.poll() is None
        other.kill()
