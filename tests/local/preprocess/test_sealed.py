"""A sealed test split, by both engines: the same rows for who has the key, nothing for others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.runtime.dataset import seal
from trainingjob.runtime.dataset.manifest import SPLITS, DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.dataset.seal import Seal
from trainingjob.runtime.preprocess.engines import duckdb_write
from trainingjob.runtime.storage import Place

from . import both

SEAL = Seal(b"k" * 32)
ROWS = 600


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose texts are found wherever they stand in the open."""
    path = tmp_path_factory.mktemp("data") / "in.csv"
    path.write_text(
        "x,day,word,y\n"
        + "".join(
            f"{i}.25,2024-01-{i % 28 + 1:02} 10:00:00,secret-{i},{i * 7919 % 1013}.5\n"
            for i in range(ROWS)
        )
    )
    return path


def rows(folder: Path, by: Seal | None) -> pa.Table:
    manifest = DatasetManifest.read(folder)
    names = [*manifest.columns]
    found = Rows(folder, manifest, "test", manifest.features, by).batches(names, 128)
    return pa.Table.from_batches([batch for _, batch in found])


@pytest.mark.parametrize("way", ["pandas", "pandas, a statement for all", "spark"])
def test_who_has_the_key_reads_the_rows_and_others_none(
    request: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    engine = way.partition(",")[0]
    if engine == "spark":
        request.getfixturevalue("spark")
    if way.endswith("all"):
        monkeypatch.setattr(duckdb_write, "FEW", 1)
    monkeypatch.setattr("trainingjob.runtime.preprocess.engines.frame.ROWS_PER_FILE", 250)
    monkeypatch.setattr(seal, "ask", lambda: SEAL)
    aside: list[bytes] = []
    within = Place.aside

    @contextmanager
    def seen(self: Place) -> Iterator[Path]:
        with within(self) as path:
            put = Place.put

            def look(place: Place, found: Path, name: str) -> None:
                if name.startswith("test/"):
                    aside.append(found.read_bytes())
                put(place, found, name)

            with monkeypatch.context() as patch:
                patch.setattr(Place, "put", look)
                yield path

    # Of Spark they are in other processes; what they put is looked at in its place.
    if engine == "pandas":
        monkeypatch.setattr(Place, "aside", seen)
    steps = [{"drop": {"columns": ["word"]}}] if way.endswith("all") else []
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    both.preprocess.run(both.payload(engine, source, plain, steps))
    del aside[:]
    result = both.preprocess.run(both.payload(engine, source, sealed, steps, sealed=True))

    manifest, open_one = DatasetManifest.read(sealed), DatasetManifest.read(plain)
    assert result.outputs.digest == manifest.digest
    assert (manifest.sealed, open_one.sealed) == (SEAL.id, None)
    assert manifest.raw is not None and open_one.raw is not None
    assert (manifest.raw.split, open_one.raw.split) == ("validation", "test")
    both.assert_same_table(rows(sealed, SEAL), rows(plain, None), "test")
    assert len(manifest.splits["test"].files) == len(open_one.splits["test"].files) > 1
    for split in SPLITS:
        for file in manifest.splits[split].files:
            path = sealed / split / file.name
            if split != "test":
                assert pq.read_metadata(path).num_rows == file.rows
                continue
            aside.append(path.read_bytes())
            with pytest.raises(OSError, match="decrypt"):
                pq.ParquetFile(path)
    assert aside
    for content in aside:
        assert b"secret-" not in content
        assert b"PAR1" not in (content[:4], content[-4:])


def test_a_packed_input_is_not_unpacked_beside_the_dataset(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    from trainingjob.runtime.preprocess.input import scratch

    monkeypatch.setattr(seal, "ask", lambda: SEAL)
    packed = tmp_path / "in.csv.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    # What a run before this one left open when it was killed.
    left = tmp_path / ".out.reading/in.csv"
    left.parent.mkdir()
    left.touch()
    made = scratch.Scratch.__init__
    beside: list[Path | None] = []
    monkeypatch.setattr(
        scratch.Scratch,
        "__init__",
        lambda self, path=None: (beside.append(path), made(self, path))[1],
    )
    both.preprocess.run(both.payload("pandas", packed, tmp_path / "out", sealed=True))
    assert beside == [tmp_path / "out", None], "the first one to remove what is left"
    assert not left.exists()
