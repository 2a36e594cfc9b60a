"""The predict stage: what it writes of which rows, and what becomes of what was there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trainingjob.api.payload import JobRef, PredictPayload, StageResult
from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime import predict
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.predict import rows as rows_module
from trainingjob.runtime.predict import written
from trainingjob.runtime.predict.written import Predictions, is_ours

from .build import Made, frame

PROBABILITIES = [f"probability_{name}" for name in "abc"]


def run(model: Made, folder: Path, uid: str = "1", **more: Any) -> StageResult:
    given = {"uri": f"file://{folder}/new.csv", "format": "csv"} | more.pop("input", {})
    return predict.run(
        PredictPayload(
            job=JobRef(namespace="team", name="digits", uid=uid),
            attempt=1,
            model_uri=f"file://{model.accepted}",
            digest=model.digest,
            input=Input.model_validate(given),
            output=f"file://{folder}/out",
            **more,
        )
    )


def manifest_of(folder: Path) -> Predictions:
    return Predictions.model_validate_json((folder / "out/predictions.json").read_text())


def found(folder: Path) -> pd.DataFrame:
    """The rows as whoever reads the manifest has them, once each file is as it says."""
    told, tables = manifest_of(folder), []
    for file in told.files:
        content = (folder / "out" / file.name).read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == file.sha256
        table = pq.read_table(folder / "out" / file.name)
        assert (table.num_rows, len(content)) == (file.rows, file.bytes)
        assert {f.name: str(f.type) for f in table.schema} == told.columns
        tables.append(table.to_pandas())
    rows = pd.concat(tables, ignore_index=True)
    assert len(rows) == told.rows
    return rows


def test_all_rows_are_there_in_their_order_with_the_columns_of_the_input(
    classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ROWS", 100)
    monkeypatch.setattr(written, "_GROUP_ROWS", 250)
    monkeypatch.setattr(written, "_FILE_BYTES", 40_000)
    rows = frame(1000, seed=11).drop(columns=["kind", "y"])
    rows.to_csv(tmp_path / "new.csv", index=False)
    result = run(classes, tmp_path)
    assert len(manifest_of(tmp_path).files) > 1
    there = found(tmp_path)
    assert [*there] == [*rows, "prediction", *PROBABILITIES]
    assert there["note"].tolist() == rows["note"].tolist()
    expected = classes.expected(rows)
    np.testing.assert_allclose(there[PROBABILITIES], expected, atol=1e-5)
    assert there["prediction"].tolist() == ["abc"[at] for at in expected.argmax(axis=1)]
    assert result.outputs.rows == {"predicted": 1000, "unpredicted": 0}
    assert result.outputs.digest == manifest_of(tmp_path).digest
    # The same once more is the same, and takes the place of what was there and of nothing else.
    before = {file.name for file in manifest_of(tmp_path).files}
    for name in ("mine.parquet", "predictions.csv", "predictions-00000-0123456789abcdef.parquet"):
        (tmp_path / "out" / name).write_text("x")
    assert run(classes, tmp_path, "2").outputs.digest == result.outputs.digest
    there = {path.name for path in (tmp_path / "out").iterdir() if "lock" not in path.name}
    named = {file.name for file in manifest_of(tmp_path).files}
    assert not named & before
    assert there == {*named, "predictions.json", "mine.parquet", "predictions.csv"}


def test_a_regression_has_values_and_the_columns_that_are_kept(
    values: Made, tmp_path: Path
) -> None:
    rows = (
        frame(200, seed=12).drop(columns=["kind", "y"]).assign(zip=[f"{n:05}" for n in range(200)])
    )
    rows.to_csv(tmp_path / "new.csv", index=False)
    run(values, tmp_path, keep=["zip"], input={"types": {"zip": "string"}})
    there = found(tmp_path)
    assert [*there] == ["zip", "prediction"]
    assert there["zip"].tolist() == rows["zip"].tolist()
    np.testing.assert_allclose(there["prediction"], values.expected(rows), rtol=1e-5)


def test_rows_of_which_the_model_makes_nothing_are_null_and_counted(
    classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ROWS", 64)
    rows = frame(300, seed=13).drop(columns=["kind", "y"])
    gaps = sorted({3, 4, *range(64, 128), 299})  # also all rows of a batch
    bad = rows.assign(count=rows["count"].astype("Int64"))
    bad.loc[gaps, "count"] = pd.NA
    bad.loc[200, "x"] = 1e300  # and one of which it makes no number
    bad.to_csv(tmp_path / "new.csv", index=False)
    result = run(classes, tmp_path, keep=["note"], unpredictable="null")
    there = found(tmp_path)
    assert there["note"].tolist() == rows["note"].tolist()
    none = there["prediction"].isna()
    assert [*np.flatnonzero(none)] == sorted([*gaps, 200])
    assert [*np.flatnonzero(there["prediction_error"].notna())] == sorted([*gaps, 200])
    assert there.loc[none, PROBABILITIES].isna().all(axis=None)
    words = "feature count has 1 nulls, and needs values"
    assert {*there.loc[gaps, "prediction_error"]} == {words}
    assert "the model makes no number" in there["prediction_error"][200]
    expected = classes.expected(rows)
    np.testing.assert_allclose(there.loc[~none, PROBABILITIES], expected[~none], atol=1e-5)
    counts = {"predicted": 300 - len(gaps) - 1, "unpredicted": len(gaps) + 1}
    assert result.outputs.rows == counts
    (warning,) = result.outputs.warnings or ()
    assert warning.reason == "RowsUnpredicted"
    told = f"{len(gaps) + 1} of 300 rows have no prediction; the first is row 4: {words}"
    assert warning.message == told

    with pytest.raises(StageFailure) as caught:
        run(classes, tmp_path)
    assert caught.value.reason == "StepFailed"
    assert caught.value.message == f"row 4: {words}"
    assert len(found(tmp_path)) == 300, "what was there before stays"


Change = Callable[[pd.DataFrame], pd.DataFrame]
WRONG: dict[str, tuple[Change, dict[str, Any], str, str]] = {
    "a column lacks": (
        lambda r: r.drop(columns="city"),
        {},
        "ColumnNotFound",
        "there is no column city",
    ),
    "one of schema lacks": (
        lambda r: r,
        {"input": {"types": {"zip": "string"}}},
        "ColumnNotFound",
        "there is no column zip",
    ),
    "no number": (lambda r: r.assign(x=[*[1.0] * 9, "much"]), {}, "InputMalformed", "line 11"),
    "another type than the model's": (
        lambda r: r,
        {"input": {"types": {"x": "string"}}},
        "SettingUnsuitable",
        "predict.input.schema has string for x, which is double",
    ),
    "a taken name": (
        lambda r: r.assign(prediction=1),
        {},
        "SettingUnsuitable",
        "column prediction cannot be kept",
    ),
    "a taken name for errors": (
        lambda r: r.assign(prediction_error=1),
        {"unpredictable": "null"},
        "SettingUnsuitable",
        "column prediction_error cannot be kept",
    ),
    "no rows": (lambda r: r[:0], {}, "InputEmpty", "the input has no rows"),
    "another model": (
        lambda r: r,
        {"digest": "sha256:" + "0" * 64},
        "ModelCorrupt",
        "they were changed",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_told_and_nothing_is_left(
    case: str, classes: Made, tmp_path: Path
) -> None:
    change, more, reason, words = WRONG[case]
    change(frame(10)).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(StageFailure) as caught:
        if "digest" in more:
            classes = Made(**{**vars(classes), **more})
        run(classes, tmp_path, **{k: v for k, v in more.items() if k != "digest"})
    assert (caught.value.reason, words in caught.value.message) == (reason, True), caught.value
    assert "preprocess.input" not in caught.value.message
    assert not [*tmp_path.glob("out/*.parquet"), *tmp_path.glob("out/predictions.json")]


def test_of_two_that_write_at_once_the_first_one_wins(
    classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame(20).to_csv(tmp_path / "new.csv", index=False)
    slow = predict.Parts.close

    def close(parts: Any) -> None:
        monkeypatch.setattr(predict.Parts, "close", slow)
        run(classes, tmp_path, "2")
        slow(parts)

    monkeypatch.setattr(predict.Parts, "close", close)
    with pytest.raises(StageFailure) as caught:
        run(classes, tmp_path, "1")
    assert caught.value.reason == "StorageUnavailable"
    assert "another job (uid 2) wrote its predictions there" in caught.value.message
    assert manifest_of(tmp_path).writer == "2"
    assert len(found(tmp_path)) == 20
    files = {path.name for path in (tmp_path / "out").glob("*.parquet")}
    assert files == {file.name for file in manifest_of(tmp_path).files}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("predictions-00000-0123456789abcdef.parquet", True),
        (".trainingjob-" + "0" * 32, True),
        ("part-00000-0123456789abcdef.parquet", False),
        ("2026/predictions-00000-0123456789abcdef.parquet", False),
        ("predictions.csv", False),
    ],
)
def test_which_files_may_be_removed(name: str, ours: bool) -> None:
    assert is_ours(name) is ours
