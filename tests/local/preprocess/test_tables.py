"""Several tables, raw files and columns with dots: both engines make the same of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from .both import run, same, whole

ORDERS = pd.DataFrame(
    {"id": range(60), "k": [i % 7 for i in range(60)], "y": [i / 8 for i in range(60)]}
)
LOOKUP = [
    {"k": k, "u": {"city": "ab"[k % 2], "age": k}, "e": [k, 0.5], "tags": ["t"] * k}
    for k in range(6)
]
MANY = pd.DataFrame({"who": [0, 0, 1, 9], "minutes": [5.5, 6.5, 7.5, 8.5]})
SCALE = {"scale": {"method": "minmax", "columns": ["id"]}}
LEFT = {"join": {"table": "lookup", "keys": ["k"], "prefix": "l."}}
SEVERAL = {"join": {"table": "many", "keys": ["k"], "tableKeys": ["who"], "how": "inner"}}

STEPS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "a lookup": ([LEFT, {"filter": {"where": "l.u.age >= 1 and `l.u.city` = 'b'"}}], 26),
    "several rows": ([LEFT, SEVERAL], 27),
    "several rows, after the split": ([SCALE, LEFT, SEVERAL], 27),
    "a query": ([{"sql": {"query": "select d.*, m.minutes from data d join many m on m.who = d.k"}}], 27),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_engines_join_alike(name: str, spark: Any, tmp_path: Path) -> None:
    steps, rows = STEPS[name]
    ORDERS.to_csv(tmp_path / "in.csv", index=False)
    pd.Series(LOOKUP).to_json(tmp_path / "lookup.json", orient="values")
    MANY.to_parquet(tmp_path / "many.parquet")
    inputs = {
        "lookup": {"uri": f"file://{tmp_path}/lookup.json", "format": "json"},
        "many": {"uri": f"file://{tmp_path}/many.parquet", "format": "parquet"},
    }
    result = same(tmp_path / "in.csv", tmp_path, steps, inputs=inputs)
    assert len(whole(result)) == rows


def test_a_script_of_spark_reads_raw_files_and_has_the_tables(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for part in range(2):
        ORDERS[part::2].to_csv(tmp_path / f"in/{part}.csv", index=False)
    MANY.to_parquet(tmp_path / "many.parquet")
    source = (
        "def preprocess(paths, context):\n"
        "    frame = context.spark.read.csv(paths, header=True, inferSchema=True)\n"
        "    table = context.inputs['many']\n"
        "    return frame.join(table, frame.k == table.who).drop('who')\n"
    )
    result = run(
        "spark",
        tmp_path / "in",
        tmp_path / "out",
        format="raw",
        script={"inline": source},
        inputs={"many": {"uri": f"file://{tmp_path}/many.parquet", "format": "parquet"}},
    )
    found = whole(result).to_pandas().sort_values(["id", "minutes"]).reset_index(drop=True)
    expected = ORDERS.merge(MANY, left_on="k", right_on="who").drop(columns="who")
    expected = expected.sort_values(["id", "minutes"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
