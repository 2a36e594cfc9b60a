"""Reading a dataset: every row once an epoch, in an order that the processes do not change."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.datasets import write_dataset
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import suitable
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import RowGroup, Rows, read_parquet
from trainingjob.runtime.gang.place import Place
from trainingjob.runtime.model.target import Target
from trainingjob.runtime.train.data import Split

CLASSIFY = Task(type="classification", label_column="label")
REGRESS = Task(type="regression", label_column="label")
KEEP_ALL = 2**30


def numbered(rows: int) -> pa.Table:
    """Row i has the features (i, -i) and the label i % 3."""
    i = np.arange(rows)
    return pa.table({"a": i.astype(float), "b": -i, "label": i % 3})


def write(folder: Path, table: pa.Table, task: str = "classification", **sizes) -> DatasetManifest:
    return write_dataset(folder, {"train": table}, label="label", task=task, **sizes)


def reading(
    folder: Path, manifest: DatasetManifest, batch: int, task: Task = CLASSIFY, **options: int
) -> Split:
    features = suitable.learnable(manifest, task)
    return Split(Rows(folder, manifest, "train", features), batch, **options)


def split(folder: Path, rows: int, batch: int, window_bytes: int = KEEP_ALL) -> Split:
    manifest = write(folder, numbered(rows), rows_per_file=17, rows_per_group=5)
    return reading(folder, manifest, batch, window_bytes=window_bytes)


def global_batches(data: Split, epoch: int, world: int, start: int = 0) -> list[list[int]]:
    """The rows of each global batch, put together from the ranks' shares."""
    ranks = [list(data.batches(7, epoch, rank, world, start)) for rank in range(world)]
    found = []
    for shares in zip(*ranks, strict=True):
        sizes = {size for _, _, _, size in shares}
        x = torch.cat([x for x, *_ in shares])
        y = torch.cat([y for _, y, *_ in shares])
        assert sizes == {len(x)}, "every rank knows the size of the global batch"
        assert torch.equal(x[:, 1], -x[:, 0])
        assert torch.equal(y, x[:, 0].long() % 3), "labels stay with their rows"
        found.append(x[:, 0].long().tolist())
    return found


# 100 rows of 16 bytes; windows of 160 bytes hold 10 rows.
def in_order(data: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and targets as they lie in the files."""
    windows = [(x.clone(), y.clone()) for _, (x, y, *_) in data._windows(None, 0)]
    return torch.cat([x for x, _ in windows]), torch.cat([y for _, y in windows])


@pytest.mark.parametrize("window_bytes", [KEEP_ALL, 160, 1])
@pytest.mark.parametrize("rows", [1, 3, 41])
@pytest.mark.parametrize("batch", [1, 4, 10, 64])
def test_every_row_comes_once_an_epoch_whatever_the_number_of_ranks(
    tmp_path, window_bytes, rows, batch
):
    data = split(tmp_path, rows, batch, window_bytes)
    alone = global_batches(data, 0, 1)
    assert sorted(row for rows_ in alone for row in rows_) == list(range(rows))
    assert [len(b) for b in alone[:-1]] == [batch] * (len(alone) - 1)
    assert len(alone) == data.steps
    for world in (2, 3, 5):
        assert global_batches(data, 0, world) == alone


@pytest.mark.parametrize("window_bytes", [KEEP_ALL, 160])
def test_each_epoch_has_an_order_of_its_own_and_the_same_each_time(tmp_path, window_bytes):
    data = split(tmp_path, 100, 10, window_bytes)
    first, second = global_batches(data, 0, 1), global_batches(data, 1, 1)
    assert first != second
    assert global_batches(data, 0, 1) == first
    flat = [row for rows in first for row in rows]
    assert flat != sorted(flat)


@pytest.mark.parametrize("window_bytes", [KEEP_ALL, 160, 1])
@pytest.mark.parametrize("start", [0, 1, 4, 10, 11])
def test_an_epoch_begun_in_its_middle_goes_on_as_the_whole_one(tmp_path, window_bytes, start):
    data = split(tmp_path, 103, 10, window_bytes)
    assert global_batches(data, 3, 2, start) == global_batches(data, 3, 2)[start:]


class Together:
    """A rank of a node; all of them are threads."""

    def __init__(self, rank: int, barrier: threading.Barrier, told: list[str]) -> None:
        self.place = Place(rank, barrier.parties, rank, barrier.parties)
        self.barrier, self.told = barrier.wait, told

    def of_node(self, text: str | None) -> str:
        if text is not None:
            self.told.append(text)
        self.barrier()
        told = self.told[-1]
        self.barrier()
        return told


@pytest.mark.parametrize("window_bytes", [KEEP_ALL, 640, 160, 1])
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_ranks_of_a_node_read_each_row_once_and_learn_what_one_would(
    tmp_path, monkeypatch, window_bytes, ranks
):
    """In windows of several row groups, of a part of one, and of a batch."""
    manifest = write(tmp_path / "data", numbered(103), rows_per_file=34, rows_per_group=17)
    alone = reading(tmp_path / "data", manifest, 8, window_bytes=window_bytes)
    # An epoch, one that a run goes on in its middle, and one that is given up there.
    epochs = [(0, 0, 13), (1, 5, 13), (2, 0, 9), (3, 0, 13)]
    expected = [global_batches(alone, epoch, 1)[start:end] for epoch, start, end in epochs]
    read: list[RowGroup] = []
    batches = Rows.batches

    def counting(self, columns, size, groups):
        read.extend(groups)
        return batches(self, columns, size, groups)

    monkeypatch.setattr(Rows, "batches", counting)
    barrier, told = threading.Barrier(ranks, timeout=60), list[str]()

    def learn(rank: int) -> list[list[list[int]]]:
        data = reading(tmp_path / "data", manifest, 8, window_bytes=window_bytes)
        data.read_with(Together(rank, barrier, told))  # type: ignore[arg-type]
        found = []
        for epoch, start, end in epochs:
            its = data.batches(7, epoch, rank, ranks, start)
            found.append([x[:, 0].long().tolist() for x, *_ in itertools.islice(its, end - start)])
            barrier.wait()
            if epoch == 0 and rank == 0:
                assert len(read) == len(set(read)) == len(alone._groups)
            barrier.wait()
        return found

    with ThreadPoolExecutor(ranks) as pool:
        shares = list(pool.map(learn, range(ranks)))
    for number, batches_ in enumerate(expected):
        parts = zip(*(one[number] for one in shares), strict=True)
        assert [[*itertools.chain(*each)] for each in parts] == batches_


@pytest.mark.parametrize("window_bytes", [KEEP_ALL, 160])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_validation_shares_have_every_row_once(tmp_path, window_bytes, world):
    data = split(tmp_path, 41, 10, window_bytes)
    rows = [
        int(value)
        for rank in range(world)
        for x, *_ in data.batches(0, 0, rank, world)
        for value in x[:, 0]
    ]
    assert sorted(rows) == list(range(41))


COLUMN_TYPES = {
    "boolean": (pa.array([True, False]), [1.0, 0.0]),
    "bigint": (pa.array([3, -4]), [3.0, -4.0]),
    "double": (pa.array([0.5, 1e300]), [0.5, float("inf")]),
}


@pytest.mark.parametrize(("values", "expected"), COLUMN_TYPES.values(), ids=COLUMN_TYPES)
def test_numbers_of_every_type_become_float32(tmp_path, values, expected):
    manifest = write(tmp_path, pa.table({"a": values, "label": [0, 1]}))
    data = reading(tmp_path, manifest, 2)
    x = in_order(data)[0]
    assert x.dtype == torch.float32
    assert x[:, 0].tolist() == expected


LABELS = {
    "text": pa.array(["b", "a", "c", "b"]),
    "whole numbers": pa.array([7, -1, 9, 7]),
    "numbers": pa.array([0.5, 0.25, 1.5, 0.5]),
}


@pytest.mark.parametrize("values", LABELS.values(), ids=LABELS)
def test_a_label_becomes_the_index_of_its_class(tmp_path, values):
    manifest = write(tmp_path, pa.table({"a": [1.0, 2, 3, 4], "label": values}))
    data = reading(tmp_path, manifest, 2)
    y = in_order(data)[1]
    assert y.tolist() == [1, 0, 2, 1]


def test_a_boolean_label_has_two_classes(tmp_path):
    manifest = write(tmp_path, pa.table({"a": [1.0, 2], "label": [True, False]}))
    data = reading(tmp_path, manifest, 2)
    assert in_order(data)[1].tolist() == [1, 0]


def test_a_regression_target_is_standardised(tmp_path):
    values = np.random.default_rng(0).normal(1e6, 3, size=1000)
    manifest = write(tmp_path, pa.table({"a": values, "label": values}), "regression")
    data = reading(tmp_path, manifest, 10, REGRESS)
    mean, std = data.target_statistics()
    assert (mean, std) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    data.target = Target(None, mean, std)
    y = in_order(data)[1]
    assert y.dtype == torch.float32
    assert (float(y.mean()), float(y.std())) == (
        pytest.approx(0, abs=1e-3),
        pytest.approx(1, abs=1e-2),
    )


def test_a_constant_target_does_not_divide_by_zero(tmp_path):
    manifest = write(tmp_path, pa.table({"a": [1.0, 2], "label": [4.0, 4.0]}), "regression")
    data = reading(tmp_path, manifest, 1, REGRESS)
    assert data.target_statistics() == (4.0, 1.0)


def test_task_features_choose_among_those_of_the_dataset(tmp_path):
    manifest = write(tmp_path, numbered(3))
    task = Task(type="classification", label_column="label", features=["b"])
    assert suitable.learnable(manifest, task) == ["b"]


def table(**columns: object) -> pa.Table:
    return pa.table({"a": [1.0, 2.0], "label": [0, 1]} | columns)


BAD = {
    "a feature of text": (table(a=["x", "y"]), CLASSIFY, "FeatureNotNumeric", "feature a"),
    "a feature of dates": (
        table(a=[date(2020, 1, 1)] * 2),
        CLASSIFY,
        "FeatureNotNumeric",
        "type date",
    ),
    "a feature with nulls": (table(a=[1.0, None]), CLASSIFY, "FeatureHasNulls", "feature a"),
    "a label with nulls": (table(label=[1.0, None]), REGRESS, "LabelHasNulls", "label"),
    "a regression of text": (table(label=["x", "y"]), REGRESS, "LabelInvalid", "label"),
    "no features": (table().select(["label"]), CLASSIFY, "NoFeatures", "besides the label"),
}


@pytest.mark.parametrize(("data", "task", "reason", "words"), BAD.values(), ids=BAD)
def test_a_dataset_that_cannot_be_learned_from_is_refused(tmp_path, data, task, reason, words):
    manifest = write(tmp_path, data, task.type)
    with pytest.raises(StageFailure, match=words) as caught:
        split = reading(tmp_path, manifest, 1, task)
        in_order(split)
    assert caught.value.reason == reason


def other_label(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    return manifest.model_copy(update={"label": "a"})


def other_task(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    return manifest.model_copy(update={"task": "regression"})


def unknown_class(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    return manifest.model_copy(update={"classes": [0, 1]})


def more_rows(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    info = manifest.splits["train"].model_copy(update={"rows": 100})
    return manifest.model_copy(update={"splits": {**manifest.splits, "train": info}})


def unknown_feature(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    columns = {**manifest.columns, "z": "double"}
    return manifest.model_copy(update={"features": ["z"], "columns": columns})


def no_parquet(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    path = next((folder / "train").iterdir())
    path.write_bytes(b"x" * path.stat().st_size)
    return manifest


def damaged_pages(folder: Path, manifest: DatasetManifest) -> DatasetManifest:
    path = next((folder / "train").iterdir())
    data = bytearray(path.read_bytes())
    data[4:200] = b"x" * 196
    path.write_bytes(data)
    return manifest


DAMAGE = [
    other_label,
    other_task,
    unknown_class,
    more_rows,
    unknown_feature,
    no_parquet,
    damaged_pages,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_dataset_that_is_not_as_its_manifest_says_is_refused(tmp_path, damage):
    manifest = damage(tmp_path, write(tmp_path, numbered(500)))
    with pytest.raises(StageFailure) as caught:
        split = reading(tmp_path, manifest, 1)
        in_order(split)
    assert caught.value.reason == "DatasetInvalid"


def test_a_file_that_is_gone_meanwhile_is_read_again_by_the_next_attempt(tmp_path: Path) -> None:
    """Another run has replaced the dataset: that is no fault of it, and passes."""
    with pytest.raises(StageFailure, match="another run has replaced the dataset") as error:
        list(read_parquet(tmp_path / "train/part-0.parquet", ["x"], 10, "DatasetInvalid"))
    assert error.value.reason == "StorageFailed"
