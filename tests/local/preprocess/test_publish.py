"""Spark's tasks that fail, run twice or are late, and what of them a dataset has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark import cloudpickle

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.preprocess import parts

from . import both

MOST = 4000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "in.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i % 7}\n" for i in range(MOST)))
    return path


def twice_then(batches: Iterator[pa.RecordBatch], fails: str, **given: Any) -> Any:
    """A task that was begun twice, and has written all of it before it fails or ends."""
    batches = iter([*batches])
    held = [*batches]
    found = [*parts.write(iter(held), **given)]
    again = [*parts.write(iter(held), **given)]
    assert [one.to_pylist() for one in found] == [one.to_pylist() for one in again]
    if fails:
        raise ValueError(fails)
    yield from found


def test_a_task_that_ran_twice_or_failed_at_last_is_in_no_dataset_twice(
    spark: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["x"]))
    write = parts.write
    monkeypatch.setattr("trainingjob.runtime.preprocess.engines.frame.ROWS_PER_FILE", 1000)

    def engine_writes(fails: str) -> None:
        task = partial(twice_then, fails=fails)
        monkeypatch.setattr(parts, "write", task)
        try:
            preprocess(out)
        finally:
            monkeypatch.setattr(parts, "write", write)

    def preprocess(folder: Path) -> None:
        both.preprocess.run(both.payload("spark", source, folder))

    engine_writes("")
    first = DatasetManifest.read(out)
    assert len(first.splits["train"].files) == 2
    assert files(out) == {*first.names}
    with pytest.raises(StageFailure, match="no luck"):
        engine_writes("no luck")
    assert DatasetManifest.read(out) == first, "the old one"
    assert files(out) == {*first.names}, "and nothing else"

    # What a writer that was killed has left is swept by the next one.
    (out / "train/part-00000-killed.parquet").write_bytes(b"half")
    (out / "fold-1-killed/test").mkdir(parents=True)
    (out / "fold-1-killed/test/part-00000-killed.parquet").write_bytes(b"half")
    preprocess(out)
    second = DatasetManifest.read(out)
    assert second.digest == first.digest
    assert {*second.names} & {*first.names} == {"manifest.json"}
    assert files(out) == {*second.names}
    assert not (out / "fold-1-killed").exists()


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
