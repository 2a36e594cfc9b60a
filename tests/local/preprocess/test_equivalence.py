"""Both engines write the same rows, types and values in the same order, whatever the data."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .both import same

SPLITS = [
    {"test": 0.25, "validation": 0.25},
    {"test": 0.0, "validation": 0.0, "seed": 3},
    {"test": 0.9, "validation": 0.0, "seed": 2147483647},
    {"test": 0.3, "validation": 0.1, "seed": 7},
]
# A row is never dropped for good, so that small frames keep a row in every split.
STEPS: dict[str, list[dict[str, Any]]] = {
    "no step": [],
    "equal rows are dropped": [{"dropDuplicates": {}}],
    "rows equal in some columns are dropped": [{"dropDuplicates": {"subset": ["s", "b"]}}],
    "rows equal in some columns are dropped after the split": [
        {"fillna": {"strategy": "mode", "columns": ["s"]}},
        {"dropDuplicates": {"subset": ["s", "b"]}},
        {"dropDuplicates": {}},
    ],
    "rows without any value are dropped": [{"dropna": {"how": "all", "subset": ["x", "s"]}}],
    "rows with few values are dropped": [{"dropna": {"thresh": 4}}],
    "nulls become a number": [{"fillna": {"value": 1}}],
    "nulls become a text": [{"fillna": {"value": "?"}}],
    "nulls become a boolean": [{"fillna": {"value": False}}],
    "nulls become means": [{"fillna": {"strategy": "mean", "columns": ["n", "k", "y"]}}],
    "nulls become medians": [{"fillna": {"strategy": "median", "columns": ["n", "k", "y"]}}],
    "nulls become modes": [{"fillna": {"strategy": "mode", "columns": ["n", "s", "d", "m", "b"]}}],
    "columns are chosen, renamed and dropped": [
        {"rename": {"columns": {"x": "k", "k": "x"}}},
        {"drop": {"columns": ["m"]}},
        {"select": {"columns": ["s", "y", "x", "k", "b", "d"]}},
    ],
    "columns are cast": [
        {"cast": {"columns": {"n": "double", "x": "bigint", "k": "string", "b": "bigint", "d": "timestamp", "m": "date"}}},
        {"cast": {"columns": {"k": "boolean", "s": "date"}}},
    ],
    "rows are filtered": [{"filter": {"where": "k % 2 = 0 or s like '%a%' or y > 0"}}],
    "columns are computed": [
        {"withColumn": {"name": "ratio", "expr": "x / (k + 1)"}},
        {"withColumn": {"name": "x", "expr": "round(x, 1)"}},
        {"withColumn": {"name": "year", "expr": "year(d) * 100 + month(m)"}},
        {"withColumn": {"name": "nothing", "expr": "null"}},
    ],
    "labels are encoded": [{"encodeLabels": {"columns": ["s", "b", "d", "k"]}}],
    "categories become columns": [{"oneHot": {"columns": ["c", "b"]}}],
    "columns are standardised": [{"scale": {"columns": ["n", "k", "x"]}}],
    "columns are brought between 0 and 1": [{"scale": {"method": "minmax", "columns": ["n", "k", "x"]}}],
    "everything at once": [
        {"dropDuplicates": {}},
        {"withColumn": {"name": "z", "expr": "ln(abs(x) + 1) * coalesce(k, 0)"}},
        {"fillna": {"strategy": "median", "columns": ["z", "k"]}},
        {"encodeLabels": {"columns": ["s"]}},
        {"oneHot": {"columns": ["c"]}},
        {"filter": {"where": "z < 1e6"}},
        {"scale": {"columns": ["z", "k"]}},
        {"drop": {"columns": ["m", "d"]}},
    ],
    "a query makes new rows": [
        {"sql": {"query": "select c, count(*) as y, sum(x) as x, avg(k) as k, max(s) as s, min(d) as d from data group by c"}}
    ],
    "a query after the split sees one split at a time": [
        {"fillna": {"strategy": "mode", "columns": ["b"]}},
        {"sql": {"query": "select b, y, k, row_number() over (partition by b order by k nulls first, y) as place, sum(x) over (partition by b) as total from data"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "seeds", [(1, 2), pytest.param((0, 3, 4, 5), marks=pytest.mark.nightly)], ids=str
)
@pytest.mark.parametrize("name", STEPS)
def test_steps(name: str, seeds: tuple[int, ...], spark: Any, tmp_path: Path) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        source = folder / "data.parquet"
        pq.write_table(generated(seed, rows=(60, 7, 200)[seed % 3]), source)
        split = SPLITS[seed % len(SPLITS)]
        same(source, folder, STEPS[name], format="parquet", split=split)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_splits_of_any_size(rows: int, split: dict[str, Any], spark: Any, tmp_path: Path) -> None:
    pq.write_table(generated(rows, rows=rows), tmp_path / "data.parquet")
    same(tmp_path / "data.parquet", tmp_path, format="parquet", split=split)


@pytest.mark.parametrize("rare", [None, "drop"])
@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("label", ["k", "c", "b"])
def test_splits_of_classes_among_many_copies(
    label: str, stratify: bool, rare: str | None, spark: Any, tmp_path: Path
) -> None:
    table = generated(4, rows=300).select(["k", "c", "b"])
    table = pa.concat_tables([table, table, table.slice(0, 40)])
    if label == "k":  # one class of one row
        once = pa.table({"k": [99], "c": ["red"], "b": [True]}, table.schema)
        table = pa.concat_tables([table, once])
    pq.write_table(table, tmp_path / "data.parquet")
    same(
        tmp_path / "data.parquet",
        tmp_path,
        [
            {"dropna": {"subset": [label]}},
            {"withColumn": {"name": "z", "expr": "coalesce(k, 0) + 1"}},
            {"fillna": {"strategy": "mode", "columns": ["c", "b", "k"]}},
        ],
        format="parquet",
        task={"type": "classification", "label": label},
        split={"test": 0.2, "validation": 0.1, "stratify": stratify, "rare": rare},
    )


def generated(seed: int, rows: int) -> pa.Table:
    """A frame with everything that makes engines differ; y is a label without nulls."""
    chance = random.Random(seed)

    def some(*values: Any) -> list[Any]:
        return [chance.choice(values) for _ in range(rows)]

    def days() -> list[Any]:
        day = datetime.date(2020, 1, 1)
        return [
            None
            if chance.random() < 0.1
            else day + datetime.timedelta(chance.randint(-40000, 40000))
            for _ in range(rows)
        ]

    moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    columns = {
        "n": pa.array(some(None, 0, 1, -1, 2**40, 12345), pa.int64()),
        "k": pa.array([chance.choice([None, chance.randint(-5, 5)]) for _ in range(rows)], pa.int64()),
        "x": pa.array(
            [
                chance.choice([None, 0.0, -0.0, float("nan"), float("inf"), 1e308, -1e-308, chance.gauss(0, 1), chance.gauss(5, 1e6)])
                for _ in range(rows)
            ],
            pa.float64(),
        ),
        "s": pa.array(some(None, "", "a", "A", "ab", "é", "日本", "🙂", "'", '"', "a,b", "line\nbreak", "NULL", " "), pa.string()),
        "c": pa.array(some("red", "green", "blue", None), pa.string()),
        "b": pa.array(some(None, True, False), pa.bool_()),
        "d": pa.array(days(), pa.date32()),
        "m": pa.array(
            [chance.choice([None, moment + datetime.timedelta(microseconds=chance.randint(-(10**16), 10**16))]) for _ in range(rows)],
            pa.timestamp("us", tz="UTC"),
        ),
        "constant": pa.array([1.5] * rows, pa.float64()),
        "y": pa.array([chance.gauss(0, 1) for _ in range(rows)], pa.float64()),
    }  # fmt: skip
    table = pa.table(columns)
    return pa.concat_tables([table, table.slice(0, rows // 4)])
