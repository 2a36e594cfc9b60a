"""Checkpoints: the newest usable one of this run, and nothing of anybody else."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainingjob.api.v1alpha1.train import Checkpoint
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang.collectives import Gang
from trainingjob.runtime.gang.division import Part
from trainingjob.runtime.gang.place import Place
from trainingjob.runtime.train import checkpoints as module
from trainingjob.runtime.train.checkpoints import Checkpoints

CPU = torch.device("cpu")
FINGERPRINT = {"epochs": 10, "batchSize": 32}


def checkpoints(folder: Path, uid: str = "uid-1", **fields: Any) -> Checkpoints:
    spec = Checkpoint(**{"keep": 3, "every_steps": 1} | fields.pop("spec", {}))
    return made(folder, spec, uid, FINGERPRINT | fields)


def made(folder: Path, spec: Checkpoint | None, uid: str, fingerprint: dict) -> Checkpoints:
    """Of a gang of one."""
    return Checkpoints(folder, spec, uid, fingerprint, Gang(Place(), CPU), CPU, Part())


def tensors(value: float) -> dict[str, tuple[torch.Tensor, list[int]]]:
    return {"weights": (torch.full((3,), value), [3])}


def load(one: Checkpoints) -> dict[str, Any] | None:
    """The position of what is found, whose tensors are filled with the step."""
    into = tensors(0.0)
    found = one.load(into)
    step = float(found["step"]) if found else 0.0
    assert torch.equal(into["weights"][0], torch.full((3,), step))
    return found


PART = "part-00000-of-00001.safetensors"


def save(folder: Path, *steps: int, uid: str = "uid-1") -> None:
    one = checkpoints(folder, uid)
    load(one)
    for step in steps:
        one.begin(step, {"step": step}, tensors(float(step)))
    one.finish()


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


def test_the_newest_is_resumed_as_it_was_saved(tmp_path):
    save(tmp_path, 9, 10, 11)
    assert load(checkpoints(tmp_path)) == {"step": 11}


def test_an_empty_folder_has_nothing_to_resume(tmp_path):
    assert load(checkpoints(tmp_path / "new")) is None


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5)
    assert steps(tmp_path) == [3, 4, 5]


def truncate_tensors(folder: Path) -> None:
    data = (folder / PART).read_bytes()
    (folder / PART).write_bytes(data[:-3])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / PART).read_bytes())
    data[-1] ^= 1
    (folder / PART).write_bytes(data)


def lose_tensors(folder: Path) -> None:
    (folder / PART).unlink()


def lose_state(folder: Path) -> None:
    (folder / "state.json").unlink()


def truncate_state(folder: Path) -> None:
    data = (folder / "state.json").read_bytes()
    (folder / "state.json").write_bytes(data[: len(data) // 2])


def empty_state(folder: Path) -> None:
    (folder / "state.json").write_bytes(b"")


def list_for_state(folder: Path) -> None:
    (folder / "state.json").write_text("[1]")


def change_state(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    state["position"]["step"] = 999
    (folder / "state.json").write_text(json.dumps(state))


def nest_state(folder: Path) -> None:
    (folder / "state.json").write_text("[" * 100_000)


def make_state_a_folder(folder: Path) -> None:
    lose_state(folder)
    (folder / "state.json").mkdir()


def take_state_of_another_step(folder: Path) -> None:
    other = (folder.parent / "step-000000010/state.json").read_bytes()
    (folder / "state.json").write_bytes(other)


def take_tensors_of_another_step(folder: Path) -> None:
    other = (folder.parent / "step-000000010" / PART).read_bytes()
    (folder / PART).write_bytes(other)


def make_tensors_a_folder(folder: Path) -> None:
    lose_tensors(folder)
    (folder / PART).mkdir()


def make_a_file(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("what?")


DAMAGES = [
    truncate_tensors,
    flip_a_bit,
    lose_tensors,
    lose_state,
    truncate_state,
    empty_state,
    list_for_state,
    change_state,
    nest_state,
    make_state_a_folder,
    take_state_of_another_step,
    take_tensors_of_another_step,
    make_tensors_a_folder,
    make_a_file,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_one_falls_back_on_the_one_before(tmp_path, capsys, damage):
    save(tmp_path, 10, 20)
    damage(tmp_path / "step-000000020")
    assert load(checkpoints(tmp_path)) == {"step": 10}
    told = capsys.readouterr().out
    assert "step-000000020 cannot be used" in told
    assert "Errno" not in told
    # Else it would count among the newest that are kept.
    assert steps(tmp_path) == [10]


def test_when_all_are_damaged_training_starts_over(tmp_path):
    save(tmp_path, 10, 20)
    for folder in tmp_path.glob("step-*"):
        truncate_tensors(folder)
    assert load(checkpoints(tmp_path)) is None


def test_those_of_an_older_job_of_this_name_are_removed(tmp_path):
    save(tmp_path, 10, 20, uid="uid-0")
    assert load(checkpoints(tmp_path)) is None
    assert steps(tmp_path) == []


def test_those_of_an_older_job_are_told_without_the_folders_marker(tmp_path):
    save(tmp_path, 10, uid="uid-0")
    (tmp_path / ".job").unlink()
    assert load(checkpoints(tmp_path)) is None
    assert steps(tmp_path) == []


def test_half_written_ones_are_removed(tmp_path):
    save(tmp_path, 10)
    (tmp_path / "step-000000020").mkdir()
    (tmp_path / "step-000000020" / PART).write_bytes(b"half")
    assert load(checkpoints(tmp_path)) == {"step": 10}
    assert steps(tmp_path) == [10]


def test_those_of_another_version_are_not_used(tmp_path, capsys):
    save(tmp_path, 10)
    path = tmp_path / "step-000000010/state.json"
    state = json.loads(path.read_text())
    state |= {"version": 1}
    del state["digest"]
    path.write_text(json.dumps(state | {"digest": module.digest_of(state)}))
    assert load(checkpoints(tmp_path)) is None
    assert "was written by another version of the operator" in capsys.readouterr().out


def test_a_run_that_was_changed_is_refused(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(StageFailure, match="with epochs 10, now it is 20") as caught:
        load(checkpoints(tmp_path, epochs=20))
    assert caught.value.reason == "CheckpointMismatch"
    assert steps(tmp_path) == [10]


def test_a_full_disk_is_told_at_the_next_call(tmp_path, monkeypatch):
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    one = checkpoints(tmp_path)
    load(one)
    monkeypatch.setattr(module.Path, "write_bytes", full)
    one.begin(1, {"step": 1}, tensors(1.0))
    with pytest.raises(StageFailure, match="cannot write a checkpoint: No space left") as caught:
        one.finish()
    assert caught.value.reason == "DiskFull"
    assert load(checkpoints(tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == [".job"]


# spec, (step, seconds since the last one) -> due
DUE = [
    ("never before 30 s by default", None, 1000, 29, False),
    ("after 30 s by default", None, 1001, 30, True),
    ("every so many steps", Checkpoint(every_steps=50), 100, 0, True),
    ("not between", Checkpoint(every_steps=50), 99, 999, False),
    ("every so many seconds", Checkpoint(every_seconds=5), 3, 5, True),
    ("not earlier", Checkpoint(every_seconds=5), 3, 4, False),
    ("by steps with both", Checkpoint(every_steps=50, every_seconds=5), 50, 0, True),
    ("by seconds with both", Checkpoint(every_steps=50, every_seconds=5), 51, 5, True),
]


@pytest.mark.parametrize(
    ("spec", "step", "passed", "due"), [d[1:] for d in DUE], ids=[d[0] for d in DUE]
)
def test_when_one_is_due(tmp_path, monkeypatch, spec, step, passed, due):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    one = made(tmp_path, spec, "uid-1", {})
    now += passed
    assert one.due(step) is due
