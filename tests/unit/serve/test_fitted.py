"""The pipeline of a manifest, applied to raw rows, makes the rows that the dataset has.

What the dataset has was made by DuckDB or Spark; tests/unit/preprocess compares that with pandas
and scikit-learn.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.preprocess.features import CLASSES, frame, prepared
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.preprocess.engines.rowhash import hashes_of, place
from trainingjob.runtime.preprocess.fitted import Pipeline
from trainingjob.runtime.preprocess.fitted.columns import ARROW, value_of
from trainingjob.runtime.preprocess.fitted.learned import KINDS
from trainingjob.runtime.preprocess.steps import KINDS as RUN
from trainingjob.runtime.preprocess.steps import never

# By what they show.
STEPS: dict[str, list[dict[str, Any]]] = {
    "no steps": [],
    "nulls": [
        {"missingIndicator": {"columns": ["x", "city"]}},
        {"fillna": {"strategy": "mean", "columns": ["x"]}},
        {"fillna": {"strategy": "median", "columns": ["n"]}},
        {"fillna": {"strategy": "mode", "columns": ["city", "code", "day"]}},
        {"oneHot": {"columns": ["city"]}},
    ],
    "a value for nulls": [
        {"fillna": {"value": -1}},
        {"fillna": {"value": "nowhere", "columns": ["city"]}},
        {"encodeLabels": {"columns": ["city"]}},
    ],
    "numbers": [
        {"clip": {"columns": ["x"], "minQuantile": 0.1, "maxQuantile": 0.9}},
        {"clip": {"columns": ["n"], "min": 0, "max": 5}},
        {"clip": {"columns": ["code"], "max": 4.5}},
        {"log1p": {"columns": ["x"]}},
        {"scale": {"columns": ["full", "constant"]}},
        {"scale": {"columns": ["n"], "method": "minmax"}},
    ],
    "bins and ranks": [
        {"bin": {"columns": ["x"], "bins": 4}},
        {"quantile": {"columns": ["full"], "quantiles": 30}},
        {"bin": {"columns": ["constant"], "borders": [1, 4.5, 9]}},
        {"oneHot": {"columns": ["x"]}},
    ],
    "categories": [
        {"groupRare": {"columns": ["city"], "keep": 3, "other": "elsewhere"}},
        {"oneHot": {"columns": ["city", "code", "yes"]}},
        {"encodeLabels": {"columns": ["day"]}},
    ],
    "the mean of the label": [{"targetEncode": {"columns": ["city", "code", "day"]}}],
    "texts": [
        {"tfidf": {"columns": ["review"], "features": 9}},
        {"hashText": {"columns": ["city"], "features": 7}},
    ],
    "hashes": [
        {"hashEncode": {"columns": ["city"], "features": 5}},
        {"hashEncode": {"columns": ["n", "x"], "features": 4}},
    ],
    "SQL": [
        {"withColumn": {"name": "both", "expr": "coalesce(x, 0) + Full / 2"}},
        {"withColumn": {"name": "x", "expr": "if(n > 3, x, 1.5)"}},
        {"withColumn": {"name": "one", "expr": "1"}},
        {"cast": {"columns": {"code": "string", "yes": "bigint"}}},
        {"dateParts": {"columns": ["when", "day"], "parts": ["year", "daysSince1970"]}},
        {"scale": {"columns": ["both", "when_year"]}},
    ],
    "numbers as people write them": [
        {"withColumn": {"name": "price", "expr": "concat('1,', cast(200 + n as string))"}},
        {"parseNumber": {"columns": ["price"]}},
        {"scale": {"columns": ["price"]}},
    ],
    "names": [
        {"rename": {"columns": {"x": "n", "n": "x", "full": "Full size"}}},
        {"drop": {"columns": ["constant"]}},
        {"scale": {"columns": ["x", "n"]}},
    ],
    "rows that go": [
        {"dropna": {"subset": ["x", "n"]}},
        {"filter": {"where": "full > -1e6"}},
        {"dropDuplicates": {}},
        {"scale": {"columns": ["x"]}},
    ],
    "the label, too": [
        {"filter": {"where": "kind is not null"}},
        {"withColumn": {"name": "kind", "expr": "upper(kind)"}},
        {"scale": {}},
    ],
    "a query before": [
        {"log1p": {"columns": ["constant"]}},
        {"sql": {"query": "select id, x, n, kind, y * 2 as twice from data"}},
        {"scale": {"columns": ["twice"]}},
    ],
}  # fmt: skip


def raw_of(data: pd.DataFrame, manifest: DatasetManifest, ids: list[str]) -> dict[str, pa.Array]:
    """The needed columns of these rows, as they were read."""
    assert manifest.raw is not None
    rows = data.set_index("id", drop=False).loc[ids]
    if "twice" in manifest.raw.columns:
        rows = rows.assign(twice=rows["y"] * 2)
    return {
        name: pa.array(rows[name], type=ARROW[manifest.raw.columns[name]], from_pandas=True)
        for name in manifest.raw.needed
    }


def same(found: pa.Array, wanted: Any, name: str) -> None:
    if not pa.types.is_primitive(found.type) or pa.types.is_temporal(found.type):
        texts = [None if pd.isna(value) else str(value)[:19] for value in wanted]
        assert [v if v is None else str(v)[:19] for v in found.to_pylist()] == texts, name
        return
    numbers = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
    wanted = pd.array(wanted, dtype="Float64").to_numpy(float, na_value=np.nan)
    np.testing.assert_allclose(numbers, wanted, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", STEPS)
def test_raw_rows_become_those_of_the_dataset(case: str, tmp_path: Path) -> None:
    data = frame(300)
    steps = STEPS[case]
    manifest, parts = prepared(data, steps, tmp_path, task=CLASSES)
    assert manifest.raw is not None
    pipeline = Pipeline(
        manifest.raw.columns,
        json.loads(json.dumps(manifest.pipeline)),
        manifest.features,
        "kind",
        manifest.raw.begin,
    )
    assert list(pipeline.needed) == manifest.raw.needed
    for split in ("validation", "test"):
        rows = parts[split]
        found = pipeline.run(raw_of(data, manifest, [*rows["id"]]))
        for name in manifest.features:
            same(found[name], rows[name], name)
        # A row by itself.
        one = pipeline.run(raw_of(data, manifest, [rows["id"][1]]))
        for name in manifest.features:
            same(one[name], rows[name][1:2], name)
    pipeline.close()


@pytest.mark.parametrize("case", ["the mean of the label", "SQL", "a query before", "nulls"])
def test_the_manifest_shows_rows_as_they_were_and_as_they_became(case: str, tmp_path: Path) -> None:
    data = frame(300)
    manifest, parts = prepared(data, STEPS[case], tmp_path, task=CLASSES)
    raw = manifest.raw
    assert raw is not None
    assert (raw.split, len(raw.rows), len(raw.features)) == ("test", 32, 32)
    at = manifest.features.index("id")
    ids = [row[at] for row in raw.features]
    test = parts["test"].set_index("id", drop=False).loc[ids]
    for index, name in enumerate(manifest.features):
        given = [row[index] for row in raw.features]
        kind = manifest.columns[name]
        given = [value_of(value, kind) for value in given]
        same(pa.array(given, type=ARROW[kind]), test[name], name)
    known = data.set_index("id", drop=False).loc[ids]
    for index, name in enumerate(raw.needed):
        if name in ("id", "city", "code"):
            values = [None if pd.isna(value) else value for value in known[name]]
            assert [row[index] for row in raw.rows] == values, name


def test_a_query_that_is_planned_once_gives_each_request_its_own_rows() -> None:
    """Values of each type with nulls among them, many rows, one, none, and one that fails."""
    day, moment = date(2026, 1, 31), datetime(2026, 1, 31, 12, 30, 0, 250_001)
    kinds: dict[str, ColumnType] = {
        "yes": "boolean",
        "n": "bigint",
        "x": "double",
        "text": "string",
        "day": "date",
        "at": "timestamp",
        "more": "string",
    }
    exprs = {
        "yes": "not yes",
        "n": "n + 1",
        "x": "x * 2",
        "text": "concat(text, '東')",
        "day": "date_add(day, 1)",
        "at": "if(n > 0, at, null)",
        "one": "7",
    }
    fields = [{"name": name, "expr": expr} for name, expr in exprs.items()]
    # Each of a column as it was, and of nothing that a step before it has made.
    fields.sort(key=lambda field: field["name"] == "n")
    steps = [{"step": {"withColumn": field}, "fitted": {}} for field in fields]
    pipeline = Pipeline(kinds, steps, exprs, "kind")
    assert list(pipeline.needed) == ["yes", "n", "x", "text", "day", "at"]

    def given(rows: int, least: int = -3) -> dict[str, list[Any]]:
        numbers = [None if i % 5 == 4 else i + least for i in range(rows)]
        return {
            "yes": [None if i is None else i % 2 == 0 for i in numbers],
            "n": numbers,
            "x": [None if i is None else i / 3 for i in numbers],
            "text": [None if i is None else f"<{i}>" for i in numbers],
            "day": [None if i is None else day + timedelta(days=i) for i in numbers],
            "at": [None if i is None else moment + timedelta(seconds=i) for i in numbers],
        }

    def run(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        arrays = {name: pa.array(rows[name], type=ARROW[pipeline.needed[name]]) for name in rows}
        found = pipeline.run(arrays)
        for name, column in found.items():
            assert column.type == ARROW[kinds.get(name, "bigint")]
        return {name: column.to_pylist() for name, column in found.items()}

    for rows in (1, 500, 33, 4, 5, 2048, 5000, 1):
        its = given(rows)
        assert run(its) == {
            "yes": [None if v is None else not v for v in its["yes"]],
            "n": [None if v is None else v + 1 for v in its["n"]],
            "x": [None if v is None else v * 2 for v in its["x"]],
            "text": [None if v is None else f"{v}東" for v in its["text"]],
            "day": [None if v is None else v + timedelta(days=1) for v in its["day"]],
            "at": [v if n and n > 0 else None for n, v in zip(its["n"], its["at"], strict=True)],
            "one": [7] * rows,
        }
    nothing = {name: [None] * 3 for name in pipeline.needed}
    assert run(nothing) == nothing | {"one": [7] * 3}
    pipeline.close()


def test_only_columns_that_features_are_made_of_are_needed(tmp_path: Path) -> None:
    steps = [
        {"withColumn": {"name": "sum", "expr": "x + n"}},
        {"rename": {"columns": {"full": "size"}}},
        {"oneHot": {"columns": ["city"]}},
    ]
    task = CLASSES | {"features": ["sum", "size", "city_Rome"]}
    manifest, _ = prepared(frame(100), steps, tmp_path, task=task)
    assert manifest.raw is not None
    assert manifest.raw.needed == ["x", "n", "full", "city"]


def test_which_rows_are_shown_is_no_part_of_what_the_dataset_is(tmp_path: Path) -> None:
    manifest, _ = prepared(frame(100), [], tmp_path, task=CLASSES)
    assert manifest.model_copy(update={"raw": None}).digest == manifest.digest


def test_a_step_whose_stored_values_do_not_say_enough_is_told(tmp_path: Path) -> None:
    manifest, _ = prepared(
        frame(100), [{"targetEncode": {"columns": ["city"]}}], tmp_path, task=CLASSES
    )
    del manifest.pipeline[0]["fitted"]["columns"]["city"]["endings"]
    assert manifest.raw is not None
    with pytest.raises(StageFailure, match=r"step 1 \(targetEncode\): .* city"):
        Pipeline(manifest.raw.columns, manifest.pipeline, manifest.features, "kind")


def test_no_step_that_learns_would_learn_from_the_rows_that_are_served() -> None:
    learn = {name for name, kind in RUN.items() if kind.learns is not never}
    assert learn - {*KINDS} == set()


@pytest.mark.parametrize("seed", [0, 7, 2**62, -3])
def test_from_its_place_a_row_is_found_again(seed: int) -> None:
    hashes = np.random.default_rng(1).integers(-(2**63), 2**63, 500, dtype=np.int64)
    first, seeds = (pa.array(np.full(500, value, dtype=np.int64)) for value in (0, seed))
    places = place(pa.array(hashes), first, seeds).to_numpy()
    assert hashes_of(places, seed).tolist() == hashes.tolist()


def test_rows_of_the_test_split_are_shown_wherever_they_lie(tmp_path: Path) -> None:
    """Of a file that is in the order of time, and longer than what is looked at first."""
    rows = 30_000
    data = pd.DataFrame({"when": range(rows), "x": np.arange(rows) % 7, "kind": ["a", "b"] * 15000})
    split = {"test": 0.1, "validation": 0.1, "time": "when"}
    manifest, _ = prepared(
        data, [{"scale": {"columns": ["x"]}}], tmp_path, task=CLASSES, split=split
    )
    raw = manifest.raw
    assert raw is not None
    assert (raw.split, raw.needed, len(raw.rows)) == ("test", ["when", "x"], 32)
    assert all(when >= 27_000 and x == when % 7 for when, x in raw.rows)
