"""The cache: what is kept comes back, and what is not as it was kept does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.api.payload import CacheRef, PreprocessPayload, StageResult, TrainPayload
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.reported import Outputs
from trainingjob.runtime import cache
from trainingjob.runtime.base.digest import digest_of_folder, sha256
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.cache import Entry, inputs_of_preprocess, inputs_of_train
from trainingjob.runtime.dataset.manifest import DataFile, DatasetManifest, SplitInfo

from .test_cache_key import preprocess, train


class Runs:
    """A storage with jobs that have one dataset, and each a model of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "runs/team"
        self.input = folder / "in.csv"
        self.input.write_text("x,label\n1,2\n")

    def preprocess(self, job: str = "a") -> PreprocessPayload:
        return preprocess(
            input=Input(uri=f"file://{self.input}", format="csv"),
            output=self.uri(job, "dataset"),
            cache=self.ref("preprocess"),
        )

    def train(self, job: str = "a") -> TrainPayload:
        return train(
            dataset=self.uri("a", "dataset"),
            checkpoints=self.uri(job, "checkpoints"),
            model_uri=self.uri(job, "model"),
            cache=self.ref("train"),
        )

    def ref(self, stage: str) -> CacheRef:
        return CacheRef(records=f"file://{self.root}/.cache/{stage}", conditions="1")

    def uri(self, *parts: str) -> str:
        return "file://" + str(self.root.joinpath(*parts))

    def entry(self, payload: Any) -> Entry:
        if isinstance(payload, PreprocessPayload):
            return Entry(payload, inputs_of_preprocess(payload, [self.input]))
        return Entry(payload, inputs_of_train(payload))

    def make_dataset(self, job: str = "a") -> StageResult:
        folder = self.root / job / "dataset"
        of_fold = self.write_dataset(folder / "fold-1-s0")
        manifest = self.write_dataset(folder, folds=[of_fold.digest])
        outputs = Outputs(uri=self.uri(job, "dataset"), digest=manifest.digest, rows={"train": 1})
        return StageResult(outputs=outputs)

    def write_dataset(self, folder: Path, folds: list[str] | None = None) -> DatasetManifest:
        (folder / "train").mkdir(parents=True)
        (folder / "test").mkdir()
        path = folder / "train/part-00000.parquet"
        pq.write_table(pa.table({"x": [1.0], "label": [2.0]}), path)
        file = DataFile(name=path.name, rows=1, bytes=path.stat().st_size, sha256=sha256(path))
        manifest = DatasetManifest(
            label="label",
            stamp="s0",
            task="regression",
            features=["x"],
            columns={"x": "double", "label": "double"},
            splits={
                "train": SplitInfo(rows=1, files=[file]),
                "test": SplitInfo(rows=0, files=[]),
            },
            folds=folds,
        )
        manifest.write(folder)
        return manifest

    def make_model(self, job: str = "a") -> StageResult:
        folder = self.root / job / "model"
        (folder / "sub").mkdir(parents=True)
        (folder / "weights").write_bytes(b"1234")
        (folder / "sub/more").write_bytes(b"5")
        outputs = Outputs(uri=self.uri(job, "model"), digest=digest_of_folder(folder), loss=0.5)
        return StageResult(outputs=outputs)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    made = Runs(tmp_path)
    made.entry(made.preprocess()).keep(made.make_dataset())
    made.entry(made.train()).keep(made.make_model())
    return made


@pytest.mark.parametrize("stage", ["preprocess", "train"])
@pytest.mark.parametrize("job", ["a", "b"])
def test_a_kept_result_comes_back_with_its_artefact(runs: Runs, stage: str, job: str) -> None:
    payload = getattr(runs, stage)(job)
    name = "dataset" if stage == "preprocess" else "model"
    files = {
        path.relative_to(runs.root / "a" / name): path.read_bytes()
        for path in (runs.root / "a" / name).rglob("*")
        if path.is_file()
    }
    result = runs.entry(payload).restore()
    assert result is not None
    assert result.cached is True
    assert result.outputs.uri == runs.uri(job, name)
    assert result.outputs.loss == (0.5 if stage == "train" else None)
    if stage == "preprocess" and job == "b":
        one, other = (DatasetManifest.read(runs.root / of / "dataset") for of in ("a", "b"))
        assert one.digest == other.digest == result.outputs.digest
        files = {
            Path(new, "train", mine.name): (runs.root / "a/dataset" / old / its).read_bytes()
            for old, new in zip(["", *one.parts], ["", *other.parts], strict=True)
            for its in ["train/part-00000.parquet"]
            for mine in DatasetManifest.read(runs.root / "b/dataset" / new).splits["train"].files
        }
    if stage == "preprocess":
        manifest = DatasetManifest.read(runs.root / job / "dataset")
        assert (manifest.writer, manifest.digest) == (payload.job.uid, result.outputs.digest)
        files.pop(Path("manifest.json"), None)
    for path, data in files.items():
        assert (runs.root / job / name / path).read_bytes() == data
    if stage == "preprocess":
        assert (runs.root / job / "dataset/test").is_dir(), "as the engines leave it"
    assert not [*runs.root.rglob(".*.writing"), *runs.root.rglob(".*.old")]


def edit(path: str, at: int = 0) -> Callable[[Runs], None]:
    """One byte of a file is another, its time and size are not."""

    def change(runs: Runs) -> None:
        file = runs.root / path
        found = file.stat()
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))

    return change


def gone(path: str) -> Callable[[Runs], None]:
    def change(runs: Runs) -> None:
        (runs.root / path).rename(runs.root / "elsewhere")

    return change


def record(text: str | None = None, **more: Any) -> Callable[[Runs], None]:
    def change(runs: Runs) -> None:
        for path in runs.root.glob(".cache/*/*.json"):
            path.write_text(text or json.dumps(json.loads(path.read_text()) | more))

    return change


def another_dataset(runs: Runs) -> None:
    manifest = DatasetManifest.read(runs.root / "a/dataset")
    manifest.model_copy(update={"label": "x"}).write(runs.root / "a/dataset")


def record_of_elsewhere(runs: Runs) -> None:
    for path in runs.root.glob(".cache/*/*.json"):
        found = cache.record.Record.model_validate_json(path.read_bytes())
        outputs = found.result.outputs.model_copy(update={"uri": f"file://{runs.root}/../x"})
        result = found.result.model_copy(update={"outputs": outputs})
        cache.record.write(f"file://{path}", found.key, result)


def record_under_another_key(runs: Runs) -> None:
    for path in runs.root.glob(".cache/*/*.json"):
        found = cache.record.Record.model_validate_json(path.read_bytes())
        cache.record.write(f"file://{path}", "0" * 64, found.result)


def link(path: str, target: str) -> Callable[[Runs], None]:
    """In the place of a file or folder a link: to what it was, at TARGET, or to something else."""

    def change(runs: Runs) -> None:
        file = runs.root / path
        file.rename(runs.root.parent / "outside")
        file.symlink_to(target or runs.root.parent / "outside")

    return change


def pipe(runs: Runs) -> None:
    (runs.root / "a/model/weights").unlink()
    os.mkfifo(runs.root / "a/model/weights")


PART = "a/dataset/train/part-00000.parquet"
DAMAGE: dict[str, tuple[str, Callable[[Runs], None]]] = {
    "a byte of the data": ("preprocess", edit(PART, 8)),
    "a byte of a fold's data": (
        "preprocess",
        edit(PART.replace("dataset", "dataset/fold-1-s0"), 8),
    ),
    "a byte of a footer": ("preprocess", edit(PART, -12)),
    "a data file is gone": ("preprocess", gone(PART)),
    "the dataset is gone": ("preprocess", gone("a/dataset")),
    "the manifest is damaged": ("preprocess", edit("a/dataset/manifest.json")),
    "another dataset lies there": ("preprocess", another_dataset),
    "a byte of the model": ("train", edit("a/model/weights")),
    "a file of the model is gone": ("train", gone("a/model/sub/more")),
    "the model is gone": ("train", gone("a/model")),
    "a manifest without end": ("preprocess", link("a/dataset/manifest.json", "/dev/zero")),
    "a link in place of a data file": ("preprocess", link(PART, "")),
    "a link in place of a split": ("preprocess", link("a/dataset/train", "")),
    "the record is gone": ("train", gone(".cache/train")),
    "the record is no JSON": ("train", record("{")),
    "the record is of another version": ("train", record(version=2)),
    "the record is empty": ("preprocess", record("{}")),
    "a figure of the record": ("preprocess", record(digest="sha256:0")),
    "the record names a place outside": ("train", record_of_elsewhere),
    "the record is of another key": ("train", record_under_another_key),
}


@pytest.mark.parametrize("job", ["a", "b"])
@pytest.mark.parametrize(("stage", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_not_as_it_was_kept_is_made_anew(
    runs: Runs,
    stage: str,
    damage: Callable[[Runs], None],
    job: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = runs.entry(getattr(runs, stage)(job))
    damage(runs)
    assert entry.restore() is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("cache: ")
    assert not (runs.root / "b").exists() or not [*(runs.root / "b").iterdir()]


def test_what_stood_there_stays_when_nothing_can_be_restored(runs: Runs) -> None:
    edit("a/model/weights")(runs)
    mine = runs.root / "b/model"
    mine.mkdir(parents=True)
    (mine / "weights").write_text("mine")
    assert runs.entry(runs.train("b")).restore() is None
    assert (mine / "weights").read_text() == "mine"


def test_what_was_made_of_input_that_changed_meanwhile_is_not_kept(runs: Runs) -> None:
    record("{}")(runs)
    entry = runs.entry(runs.preprocess())
    assert not entry.known()
    runs.input.write_text("x,label\n3,4\n")
    entry.keep(StageResult(outputs=Outputs(uri=runs.uri("a", "dataset"))))
    assert not entry.known()


def test_a_cache_that_cannot_be_written_fails_nobody(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    gone(".cache")(runs)
    (runs.root / ".cache").write_text("a file")
    made = cache.through(
        runs.train(), lambda: inputs_of_train(runs.train()), lambda: StageResult(outputs=OUTPUTS)
    )
    assert made.outputs == OUTPUTS
    assert "the result is not kept" in capsys.readouterr().out


OUTPUTS = Outputs(uri="file:///made")


def test_inputs_that_cannot_be_read_are_the_stages_to_tell(runs: Runs) -> None:
    gone("a/dataset")(runs)

    def make() -> StageResult:
        raise StageFailure("DatasetInvalid", "as the stage has it")

    with pytest.raises(StageFailure, match="as the stage has it"):
        cache.through(runs.train(), lambda: inputs_of_train(runs.train()), make)


def test_a_failure_is_not_kept(runs: Runs) -> None:
    record("{}")(runs)
    payload = runs.train()

    def make() -> StageResult:
        raise StageFailure("ScriptFailed", "no luck")

    with pytest.raises(StageFailure):
        cache.through(payload, lambda: inputs_of_train(payload), make)
    assert not runs.entry(payload).known()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (link("a/model/weights", ""), "weights is no plain file"),
        (link("a/model/weights", "/proc/self/environ"), "weights is no plain file"),
        (link("a/model/weights", "/dev/zero"), "weights is no plain file"),
        (link("a/model/sub", ""), "sub is no plain file"),
        (link("a/model", ""), "a/model is or goes through a link"),
        (link("a", "/proc/self"), "there is nothing at"),
        (link("a", ""), "a/model is or goes through a link"),
        (pipe, "weights is no plain file"),
    ],
)
def test_no_model_is_copied_through_a_link(
    runs: Runs,
    change: Callable[[Runs], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It might lead to the environment of the pod that copies, or have no end."""
    entry = runs.entry(runs.train("b"))
    change(runs)
    (runs.root / "b").mkdir()
    assert entry.restore() is None
    assert words in capsys.readouterr().out
    assert [*(runs.root / "b").rglob("*")] == []


@pytest.mark.parametrize("name", ["../../../a/outside", "../train/../../outside"])
def test_a_manifest_cannot_have_files_written_beside_the_dataset(runs: Runs, name: str) -> None:
    source = runs.root / "a/dataset"
    manifest = DatasetManifest.read(source)
    (file,) = manifest.splits["train"].files
    outside = source / "train" / name
    outside.resolve().write_bytes((source / "train" / file.name).read_bytes())
    moved = SplitInfo(rows=1, files=[file.model_copy(update={"name": name})])
    told = manifest.model_copy(update={"splits": manifest.splits | {"train": moved}})
    told.write(source)
    outputs = Outputs(uri=runs.uri("a", "dataset"), digest=told.digest)
    runs.entry(runs.preprocess()).keep(StageResult(outputs=outputs))
    (runs.root / "b").mkdir()
    assert runs.entry(runs.preprocess("b")).restore() is None
    assert [*(runs.root / "b").rglob("*")] == []
