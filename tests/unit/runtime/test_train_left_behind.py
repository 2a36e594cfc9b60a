"""What user code writes elsewhere than into the output folder is found, named and kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from trainingjob.api.payload import JobRef, TrainPayload
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.train import left_behind
from trainingjob.runtime.train.left_behind import LeftBehind


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Working folder, home and /tmp of a pod, and the job's folder on its claim."""
    for name in ("cwd", "home", "tmp", "job/model", "job/checkpoints", "job/dataset"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(left_behind.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(left_behind, "_SPARE_BYTES", 0)
    return tmp_path


def look(place: Path, attempt: int = 1) -> LeftBehind:
    job = f"file://{place / 'job'}"
    payload = TrainPayload(
        job=JobRef(namespace="default", name="job", uid="1"),
        attempt=attempt,
        task=Task(type="classification", label_column="y"),
        nodes=1,
        procs_per_node=1,
        seed=0,
        needs_model=False,
        dataset=f"{job}/dataset",
        checkpoints=f"{job}/checkpoints",
        model_uri=f"{job}/model",
    )
    return LeftBehind(payload, place / "cwd", str(place / "home"))


def write(path: Path, size: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def kept(place: Path, attempt: int = 1) -> list[str]:
    folder = place / "job/left-behind" / f"attempt-{attempt}"
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# files that the code writes -> what is told, what is kept
WRITTEN = {
    "nothing": ([], "", []),
    "its own text and what Python makes of it": (
        ["cwd/train.py", "cwd/__pycache__/x.pyc", "cwd/.cache/y.bin"], "", [],
    ),
    "models come first": (
        ["cwd/a.txt", "cwd/b.txt", "cwd/c.txt", "cwd/z.pth"],
        "it wrote z.pth (1 B), a.txt (1 B), b.txt (1 B) and 1 more in the working folder; kept in",
        ["a.txt", "b.txt", "c.txt", "z.pth"],
    ),
    "at home": (["home/m.pt", "home/notes.txt"], "it wrote m.pt (1 B) in $HOME; kept", ["m.pt"]),
    "of others in /tmp only what may be a model": (
        ["tmp/m.safetensors", "tmp/log.txt", "tmp/trainingjob-abc/m.pt"],
        "it wrote m.safetensors (1 B) in ", ["m.safetensors"],
    ),
    "what is on the storage stays there": (
        ["job/checkpoints/c.ckpt", "job/dataset/m.pt"],
        "it wrote c.ckpt (1 B) in $TRAININGJOB_CHECKPOINT_DIR, m.pt (1 B) in $TRAININGJOB_INPUT_DI",
        [],
    ),
    "two of a name": (["cwd/m.pt", "home/m.pt"], "m.pt (1 B) in $HOME", ["home/m.pt", "m.pt"]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "words", "found"), WRITTEN.values(), ids=WRITTEN)
def test_what_was_written_elsewhere(place, files, words, found):
    for known in ("cwd/old.pt", "home/old.pt", "job/checkpoints/old.pt"):
        write(place / known)
    looked = look(place)
    for name in files:
        write(place / name)
    told = looked.report()
    assert told == "" if not words else words in told, told
    assert kept(place) == found


# files that the code writes -> what is kept of them beside a model
RECORDS = {
    "of TensorBoard": (
        ["cwd/runs/Nov29/events.out.tfevents.1.host.7.0", "cwd/notes.txt", "cwd/m.pt"],
        ["runs/Nov29/events.out.tfevents.1.host.7.0"],
    ),
    "of Lightning and of trackers": (
        ["cwd/lightning_logs/version_0/metrics.csv", "cwd/wandb/offline-run-1/run.wandb",
         "cwd/mlruns/0/meta.yaml", "cwd/wandb.txt"],
        ["lightning_logs/version_0/metrics.csv", "mlruns/0/meta.yaml",
         "wandb/offline-run-1/run.wandb"],
    ),
    "of others, or on the storage": (
        ["tmp/events.out.tfevents.1", "home/events.out.tfevents.1",
         "job/checkpoints/events.out.tfevents.1"], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "found"), RECORDS.values(), ids=RECORDS)
def test_what_tells_how_the_training_went_is_kept(place, files, found):
    write(place / "cwd/mlruns/before")
    looked = look(place)
    for name in files:
        write(place / name)
    told = looked.keep_records()
    assert kept(place) == found
    assert (f"; kept in {place / 'job/left-behind/attempt-1'}" in told) == bool(found), told


def test_a_file_that_was_there_and_is_another_now_counts(place):
    write(place / "home/m.pt")
    looked = look(place)
    write(place / "home/m.pt", 2)
    assert "m.pt (2 B) in $HOME" in looked.report()


def test_links_are_not_followed(place):
    looked = look(place)
    (place / "secret").mkdir()
    write(place / "secret/key.pt")
    (place / "cwd/folder").symlink_to(place / "secret")
    (place / "cwd/key.pt").symlink_to(place / "secret/key.pt")
    os.mkfifo(place / "cwd/pipe.pt")
    assert looked.report() == ""


def test_there_is_a_bound_and_it_is_told(place, monkeypatch):
    monkeypatch.setattr(left_behind, "_MOST_BYTES", 100)
    looked = look(place)
    write(place / "cwd/small.pt", 60)
    write(place / "cwd/large.pt", 90)
    write(place / "cwd/log.txt", 40)
    assert "; 2 of 3 files are kept in " in looked.report()
    assert kept(place) == ["log.txt", "small.pt"]
    monkeypatch.setattr(left_behind, "_MOST_BYTES", 10)
    assert "there is no room on the storage to keep it (190 B)" in looked.report()


def test_a_storage_that_refuses_hides_nothing_of_the_message(place):
    write(place / "job/left-behind")
    looked = look(place)
    write(place / "cwd/m.pt")
    told = looked.report()
    assert "m.pt (1 B) in the working folder" in told
    assert "it could not be kept: File exists" in told


def test_the_newest_three_attempts_are_kept(place):
    for attempt in range(1, 6):
        looked = look(place, attempt)
        shutil.rmtree(place / "cwd")
        write(place / "cwd/m.pt", attempt)
        assert f"left-behind/attempt-{attempt}" in looked.report()
        os.utime(place / f"job/left-behind/attempt-{attempt}", (attempt, attempt))
    assert [a for a in range(1, 6) if kept(place, a)] == [3, 4, 5]
