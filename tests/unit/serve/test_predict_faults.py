"""The predict stage in a bad moment: killed, out of disk, with an input that changes under it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.runtime import predict
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.base.progress import Reporter
from trainingjob.runtime.predict import rows as rows_module
from trainingjob.runtime.predict import written
from trainingjob.runtime.predict.rows import Rows
from trainingjob.runtime.storage import Place

from .build import Made, frame
from .test_predict_stage import PROBABILITIES, found, manifest_of, run


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files of few rows."""
    monkeypatch.setattr(rows_module, "ROWS", 50)
    monkeypatch.setattr(written, "_GROUP_ROWS", 50)
    monkeypatch.setattr(written, "_FILE_BYTES", 1)


def written_new(folder: Path, rows: int = 200, seed: int = 21) -> pd.DataFrame:
    made = frame(rows, seed=seed).drop(columns=["kind", "y"])
    made.to_csv(folder / "new.csv", index=False)
    return made


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir() if "lock" not in path.name}


def dies_at(call: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """The ``call``-th one does not happen."""
    calls = 0

    def died(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return method(*arguments, **more)

    return died


# What is called, and which call is the last thing that happens.
MOMENTS: dict[str, tuple[type, str, int]] = {
    "before the first file": (Place, "put", 1),
    "in mid-write": (Rows, "_table", 3),
    "between two files": (Place, "put", 3),
    "between the last file and the manifest": (Place, "swap", 1),
    "before those of the run before are removed": (Place, "discard", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_wherever_it_is_killed_readers_have_whole_predictions_and_the_next_run_cleans_up(
    moment: str, classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, call = MOMENTS[moment]
    old = written_new(tmp_path, 120)
    run(classes, tmp_path, "1")
    before = manifest_of(tmp_path)
    new = written_new(tmp_path, 200, seed=22)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dies_at(call, getattr(owner, name)))
        # A process that is killed leaves what it was writing, too.
        patched.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(Killed):
            run(classes, tmp_path, "2")
    committed = name == "discard"
    assert found(tmp_path)["note"].tolist() == (new if committed else old)["note"].tolist()
    assert (manifest_of(tmp_path) == before) is not committed
    assert files(tmp_path) > {file.name for file in manifest_of(tmp_path).files}
    result = run(classes, tmp_path, "2")
    assert result.outputs.rows == {"predicted": 200, "unpredicted": 0}
    assert found(tmp_path)["note"].tolist() == new["note"].tolist()
    named = {file.name for file in manifest_of(tmp_path).files}
    assert files(tmp_path) == {*named, "predictions.json"}


def test_on_a_full_disk_it_says_so_and_leaves_what_was_there(
    classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = written_new(tmp_path, 120)
    run(classes, tmp_path, "1")
    there = files(tmp_path)
    written_new(tmp_path, 200, seed=22)
    make, made = pq.ParquetWriter, 0

    def full(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
        nonlocal made
        made += 1
        return make("/dev/full" if made == 3 else path, schema)

    monkeypatch.setattr(written.pq, "ParquetWriter", full)
    with pytest.raises(StageFailure) as caught:
        run(classes, tmp_path, "2")
    assert caught.value.reason == "DiskFull"
    assert caught.value.message.startswith("cannot write the predictions: ")
    assert files(tmp_path) == there
    assert found(tmp_path)["note"].tolist() == old["note"].tolist()


CHANGES: dict[str, Callable[[Path], object]] = {
    "rows are added": lambda path: path.open("a").write("1,2,3\n"),
    "it is cut": lambda path: os.truncate(path, 2000),
    "it is replaced": lambda path: frame(300).to_csv(path, index=False),
    "it is gone": lambda path: path.unlink(),
    "it is written as it was": lambda path: path.write_bytes(path.read_bytes()),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("when", ["before the rows are read", "after the first ones"])
def test_an_input_that_changes_under_it_gives_no_predictions(
    case: str, when: str, classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_new(tmp_path)
    path, change = tmp_path / "new.csv", CHANGES[case]
    owner = Rows
    make = owner._tables if when.startswith("before") else owner._table

    def changed(rows: Rows, *arguments: Any) -> Any:
        monkeypatch.setattr(owner, make.__name__, make)
        change(path)
        return make(rows, *arguments)

    monkeypatch.setattr(owner, make.__name__, changed)
    with pytest.raises(StageFailure) as caught:
        run(classes, tmp_path)
    assert caught.value.reason == "StorageFailed"
    assert f"{path} was changed while its rows were predicted" in caught.value.message
    assert not [*tmp_path.glob("out/*.parquet"), *tmp_path.glob("out/predictions.json")]


def test_a_category_that_training_did_not_have_is_predicted_as_none_of_those_it_had(
    classes: Made, tmp_path: Path
) -> None:
    rows = frame(30, seed=23).drop(columns=["kind", "y"])
    rows.loc[[3, 7], "city"] = ["Atlantis", "oslo"]
    rows.to_csv(tmp_path / "new.csv", index=False)
    run(classes, tmp_path)
    there = found(tmp_path)
    np.testing.assert_allclose(there[PROBABILITIES], classes.expected(rows), atol=1e-5)


COUNT = "count"
TYPES: dict[str, tuple[pa.Array, str | None]] = {
    "numbers as texts": (pa.array([str(at) for at in range(30)]), None),
    "whole numbers as doubles": (pa.array(np.arange(30, dtype=np.float64)), None),
    "unsigned ones": (pa.array(range(30), pa.uint8()), None),
    "a text that is no number": (pa.array(["x", *map(str, range(29))]), "x"),
    "a number that is not whole": (pa.array([1.5, *range(29)], pa.float64()), "row 1: count: 1.5"),
    "one beyond 64 bits": (
        pa.array([2**64 - 1, *range(29)], pa.uint64()),
        "row 1: count: 1.8446744073709552e+19",
    ),
}


@pytest.mark.parametrize("case", TYPES)
def test_a_column_of_another_type_counts_where_no_value_is_lost(
    case: str, classes: Made, tmp_path: Path
) -> None:
    rows = frame(30, seed=24).drop(columns=["kind", "y"])
    given, wrong = TYPES[case]
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.set_column(table.column_names.index(COUNT), COUNT, given)
    pq.write_table(table, tmp_path / "new.parquet")
    source = {"uri": f"file://{tmp_path}/new.parquet", "format": "parquet"}
    if wrong is None:
        run(classes, tmp_path, input=source)
        rows[COUNT] = [int(value) for value in given.to_pylist()]
        expected = classes.expected(rows)
        np.testing.assert_allclose(found(tmp_path)[PROBABILITIES], expected, atol=1e-5)
        return
    with pytest.raises(StageFailure) as caught:
        run(classes, tmp_path, input=source)
    assert caught.value.reason == "InputMalformed"
    assert COUNT in caught.value.message and wrong in caught.value.message


def test_the_rows_that_are_done_are_told_and_of_how_many(
    classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = written_new(tmp_path)
    rows.assign(day=rows["day"].astype(str)).to_json(
        tmp_path / "new.jsonl", orient="records", lines=True
    )
    told: list[tuple[float, dict[str, float]]] = []
    monkeypatch.setattr(Reporter, "due", lambda self: True)
    monkeypatch.setattr(Reporter, "report", lambda self, done, of: told.append((done, of)))
    counts = [50, 100, 150, 200]
    for name, kind in (("new.csv", "csv"), ("new.jsonl", "json")):
        told.clear()
        run(classes, tmp_path, input={"uri": f"file://{tmp_path}/{name}", "format": kind})
        assert told == [(n / 200, {"rows": n, "total_rows": 200}) for n in counts]


def test_its_manifest_is_as_it_was_before_models_had_variants(
    classes: Made, tmp_path: Path
) -> None:
    written_new(tmp_path)
    run(classes, tmp_path)
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    assert "variant" not in told
    assert predict.Predictions.model_validate(told) == manifest_of(tmp_path)
