"""Removing artefacts: those of the job's own runs alone, and whole, wherever it is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.payload import CleanupPayload
from trainingjob.runtime import cleanup
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import MANIFEST, DataFile, DatasetManifest, SplitInfo
from trainingjob.runtime.storage import disk, publishing
from trainingjob.runtime.storage.ownership import claim

OURS, THEIRS = "uid-1", "uid-2"


def dataset(folder: Path, writer: str | None = OURS) -> DatasetManifest:
    """As preprocess leaves one, with a fold."""
    with publishing(folder, MANIFEST) as new:
        stamp = new.place.stamp

        def split(place: Any) -> SplitInfo:
            place.write(f"train/part-00000-{stamp}12345678.parquet", "rows")
            one = DataFile(name=f"part-00000-{stamp}12345678.parquet", rows=1, bytes=4, sha256="x")
            return SplitInfo(rows=1, files=[one])

        made = DatasetManifest(
            label="y",
            task="classification",
            features=["a"],
            columns={"a": "double", "y": "bigint"},
            splits={"train": split(new.place)},
            stamp=stamp,
            writer=writer,
        )
        fold = new.place.below(f"fold-1-{stamp}")
        of_fold = made.model_copy(update={"splits": {"train": split(fold)}, "writer": None})
        fold.write(MANIFEST, of_fold.text)
        made = made.model_copy(update={"folds": [of_fold.digest]})
        made.publish(new, [f"fold-1-{stamp}/{name}" for name in of_fold.names])
    return made


def checkpoints(folder: Path, uid: str = OURS) -> None:
    claim(folder, uid)
    for step in (5, 10):
        place = folder / f"step-{step:09}"
        place.mkdir()
        (place / "part-00000-of-00001.safetensors").write_bytes(b"weights")
        (place / "state.json").write_text(json.dumps({"uid": uid}))


def remove(folder: Path) -> str:
    """What was left, in words."""
    asked = CleanupPayload(
        output=f"file://{folder}",
        dataset=f"file://{folder}/dataset",
        dataset_run=OURS,
        checkpoints=f"file://{folder}/checkpoints",
        checkpoints_run=OURS,
    )
    result = cleanup.run(asked)
    assert result.outputs.uri == f"file://{folder}"
    return "; ".join(warning.message for warning in result.outputs.warnings or ())


def files(folder: Path) -> set[str]:
    return set(disk.files(folder))


def test_what_the_job_has_written_is_removed_and_no_more(tmp_path):
    made = dataset(tmp_path / "dataset")
    checkpoints(tmp_path / "checkpoints")
    (tmp_path / "dataset/train/theirs.parquet").write_text("put there by somebody")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    assert remove(tmp_path) == ""
    left = {"dataset/manifest.json", "dataset/train/theirs.parquet", "model/config.json"}
    assert files(tmp_path) == left
    assert not (tmp_path / "checkpoints").exists()
    told = DatasetManifest.model_validate_json((tmp_path / "dataset/manifest.json").read_text())
    assert told.digest == made.digest, "it says what the dataset was"
    with pytest.raises(StageFailure, match=r"was removed when its job had ended") as error:
        DatasetManifest.read(tmp_path / "dataset")
    assert error.value.reason == "DatasetInvalid"
    assert remove(tmp_path) == "", "asked for twice"
    assert files(tmp_path) == left


def test_the_next_job_writes_where_one_was_removed(tmp_path):
    dataset(tmp_path / "dataset")
    remove(tmp_path)
    made = dataset(tmp_path / "dataset", THEIRS)
    assert DatasetManifest.parse(tmp_path / "dataset") == made


@pytest.mark.parametrize("what", ["nothing", "no folder"])
def test_there_may_be_nothing(tmp_path, what):
    assert remove(tmp_path / what if what == "no folder" else tmp_path) == ""
    assert not files(tmp_path)


@pytest.mark.parametrize(
    ("what", "writer", "words"),
    [
        ("of another job of this name", THEIRS, "was written by another run: it was left"),
        ("of a version before this one", None, "was written by another run: it was left"),
        ("no manifest", "", "is damaged or of another version: the dataset was left"),
    ],
)
def test_a_dataset_that_is_not_of_the_job_stays(tmp_path, what, writer, words):
    made = dataset(tmp_path / "dataset", writer or None)
    if writer == "":
        (tmp_path / "dataset/manifest.json").write_text("{}")
    before = files(tmp_path)
    assert words in remove(tmp_path)
    assert files(tmp_path) == before
    if writer != "":
        assert DatasetManifest.parse(tmp_path / "dataset") == made


def test_a_dataset_that_is_replaced_meanwhile_stays(tmp_path, monkeypatch):
    dataset(tmp_path / "dataset")
    made = []
    swap = disk.swap

    def late(path: Path, data: bytes, before: str | None) -> bool:
        monkeypatch.setattr(disk, "swap", swap)
        made.append(dataset(tmp_path / "dataset", THEIRS))
        return swap(path, data, before)

    monkeypatch.setattr(disk, "swap", late)
    assert "has just been replaced: it was left" in remove(tmp_path)
    assert DatasetManifest.parse(tmp_path / "dataset") == made[0]
    for part in made[0].names:
        assert (tmp_path / "dataset" / part).exists()


def test_checkpoints_of_another_run_stay(tmp_path):
    checkpoints(tmp_path / "checkpoints", THEIRS)
    before = files(tmp_path)
    words = "step-000000005, step-000000010 in "
    assert words in remove(tmp_path)
    assert files(tmp_path) == before


def test_what_was_put_there_to_start_from_stays(tmp_path):
    given = tmp_path / "checkpoints/epoch-3"
    given.mkdir(parents=True)
    (given / "weights").write_bytes(b"somebody's own")
    checkpoints(tmp_path / "checkpoints")
    claim(tmp_path / "checkpoints", OURS)  # by the next attempt
    assert "epoch-3 in " in remove(tmp_path)
    assert {name for name in files(tmp_path) if "/." not in name} == {"checkpoints/epoch-3/weights"}


def test_checkpoints_of_a_version_before_are_known_by_their_state(tmp_path):
    checkpoints(tmp_path / "checkpoints")
    (tmp_path / "checkpoints/.job").unlink()
    assert remove(tmp_path) == ""
    assert not files(tmp_path)


def test_killed_at_any_step_it_can_be_asked_for_again(tmp_path, monkeypatch):
    """Each removal of a file, and the swap, may be the last thing that it does."""
    steps = 0
    unlink, rmtree, swap = Path.unlink, cleanup.remove, disk.swap

    class Killed(BaseException):
        pass

    def dies_at(number: int) -> None:
        count = 0

        def counted(call: Any) -> Any:
            def step(*args: Any, **kwargs: Any) -> Any:
                nonlocal count, steps
                count += 1
                steps = max(steps, count)
                if count == number:
                    raise Killed
                return call(*args, **kwargs)

            return step

        monkeypatch.setattr(Path, "unlink", counted(unlink))
        monkeypatch.setattr(cleanup, "remove", counted(rmtree))
        monkeypatch.setattr(disk, "swap", counted(swap))

    number = 0
    while number <= steps:
        number += 1
        folder = tmp_path / str(number)
        dataset(folder / "dataset")
        checkpoints(folder / "checkpoints")
        dies_at(number)
        try:
            remove(folder)
        except Killed:
            try:
                told = DatasetManifest.parse(folder / "dataset")
            except StageFailure:
                pass
            else:  # whoever finds it finds all of it
                assert {*told.names} <= files(folder / "dataset")
        monkeypatch.undo()
        assert remove(folder) == ""
        assert files(folder) <= {"dataset/manifest.json"}
    assert steps > 5
