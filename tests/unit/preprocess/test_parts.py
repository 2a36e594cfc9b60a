"""The files that a task of Spark's writes of its rows."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess import parts
from trainingjob.runtime.storage import Place

SPLITS = {0: "test", 1: "validation", 2: "train"}
SCHEMA = pa.schema([pa.field("x", pa.int64()), pa.field("s", pa.string())])


def rows(numbers: list[int], owners: list[int]) -> pa.Table:
    count = len(numbers)
    fields = [pa.field("f", pa.int32()), pa.field("o", pa.int8())]
    # What Spark knows to hold no null is written as if it might.
    fields += [pa.field("x", pa.int64(), nullable=False), pa.field("s", pa.string())]
    columns = [numbers, owners, range(count), [None if i % 3 else f"s{i}" for i in range(count)]]
    return pa.table(columns, schema=pa.schema(fields))


def written(place: Place, batches: Iterator[pa.RecordBatch], **more: Any) -> list[dict[str, Any]]:
    given = {"row_group": 10, "total": "x", "schema": SCHEMA, "splits": SPLITS} | more
    found = [*parts.write(batches, place, **given)]
    return [row for batch in found for row in batch.to_pylist()]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_file_has_its_rows_in_order(tmp_path: Path, size: int) -> None:
    table = rows([0] * 50 + [3] * 45, [0] * 5 + [2] * 45 + [1] * 20 + [2] * 25)
    place = Place(str(tmp_path), "aaaa")
    told = written(place, iter(table.to_batches(size)))

    assert [(one["split"], one["name"][:15], one["rows"]) for one in told] == [
        ("test", "part-00000-aaaa", 5),
        ("train", "part-00000-aaaa", 45),
        ("validation", "part-00003-aaaa", 20),
        ("train", "part-00003-aaaa", 25),
    ]
    assert sum(one["total"] for one in told) == sum(range(95))
    found = []
    for one in told:
        path = tmp_path / one["split"] / one["name"]
        data = path.read_bytes()
        assert one["bytes"] == len(data)
        assert one["sha256"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert one["sha256"][7:15] in one["name"]
        file = pq.ParquetFile(path)
        assert file.schema_arrow.equals(SCHEMA)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert groups == [10] * (one["rows"] // 10) + [one["rows"] % 10] * (one["rows"] % 10 > 0)
        found += file.read().to_pylist()
    assert found == table.select(["x", "s"]).to_pylist()
    # A second try of the task, or one that was too slow: the same files.
    assert written(place, iter(table.to_batches(13))) == told
    assert len([*tmp_path.rglob("*.parquet")]) == len(told)


def test_row_groups_of_wide_rows_are_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_GROUP_BYTES", 10_000)
    schema = pa.schema([pa.field(f"c{i}", pa.float64()) for i in range(100)])
    columns = [np.zeros(100, dtype=kind) for kind in (np.int32, np.int8)]
    table = pa.table([*columns, *[np.arange(100.0)] * 100], names=["f", "o", *schema.names])
    (told,) = written(
        Place(str(tmp_path), "a"),
        iter(table.to_batches(10)),
        row_group=65_536,
        total="",
        schema=schema,
    )
    file = pq.ParquetFile(tmp_path / "test" / told["name"])
    assert file.read().to_pylist() == table.select(schema.names).to_pylist()
    assert file.num_row_groups == 5


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (StageFailure("StorageUnavailable", "s3://b/x: denied"), "StorageUnavailable", "b/x: den"),
        (OSError(errno.ENOSPC, "No space left on device"), "DiskFull", "cannot write the dataset"),
    ],
)
def test_what_a_task_fails_of_reaches_the_driver_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, words: str
) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(Place, "put", refused)
    with pytest.raises(RuntimeError) as told:
        written(Place(str(tmp_path), "a"), iter(rows([0], [0]).to_batches()))
    # As Spark tells it.
    failure = parts.failure(f"An error\n  RuntimeError: {told.value}\n\tat org.apache.spark.A")
    assert failure is not None
    assert failure.reason == reason
    assert words in failure.message
    assert "\n" not in failure.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", ["An error\n\tat x", "ValueError: no"])
def test_what_is_no_failure_of_ours_is_left_to_others(text: str) -> None:
    assert parts.failure(text) is None
