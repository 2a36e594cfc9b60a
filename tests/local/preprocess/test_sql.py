"""The step ``sql`` on Spark: Spark's own SQL, nothing but a query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.spark import SparkEngine

COLUMNS: dict[str, Any] = {"c": "string", "i": "bigint", "x": "double"}
ROWS = [("a", 1, 0.5), ("a", 2, 1.5), ("b", 3, None), (None, 3, 2.5)]

RESULTS: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "select c, sum(i) as s, percentile(x, 0.5) as p from data group by c": (
        ["string", "bigint", "double"],
        [("a", 3, 1.0), ("b", 3, None), (None, 3, 2.5)],
    ),
    "select i from data lateral view explode(split('p q', ' ')) t as w where w = 'q' and i < 3": (
        ["bigint"],
        [(1,), (2,)],
    ),
    "select try_cast(c as bigint) as n, 1.25BD as d from data where i = 2": (
        ["bigint", "double"],
        [(None, 1.25)],
    ),
    "select cast(i as decimal(20, 0)) as n, cast(i as decimal(20, 0)) * 10000000000000000000 as w "
    "from data where i = 2": (["bigint", "string"], [(2, "20000000000000000000")]),
    "select i from data order by i desc, x limit 2": (["bigint"], [(3,), (3,)]),
    "with T as (select i from data), u as (select * from t) select i from U where i < 2": (
        ["bigint"],
        [(1,)],
    ),
}
REFUSED: dict[str, str] = {
    "select nosuch, i from data": "there is no column nosuch (columns: c, i, x)",
    "select cc from data": "there is no column cc; did you mean c?",
    "select * from orders": "there is no table orders, only data",
    "select * from OTHER": "there is no table OTHER, only data",
    "select i from data where i in (select i from other)": "there is no table other, only data",
    "with t as (select * from other) select i from t": "there is no table other, only data",
    "select i from data where i = (select i from data limit 1)": "LIMIT needs ORDER BY",
    "select * from csv.`FOLDER/secret.csv`": "there is no table csv.",
    "select collect_list(i) as l from data": "column l is of type array<bigint>",
    "select cast(c as bigint) as n from data": "CAST_INVALID_INPUT",
    "select i as a, x as A from data": "differ only in case",
    "select i from data limit 3": "LIMIT needs ORDER BY",
    "select rand() as r from data": "another result at every run",
    "select * from data tablesample (50 percent)": "a sample has other rows at every run",
    **dict.fromkeys(
        (
            "selec i from data",
            "select 1 as a; select 2 as b",
            "set spark.sql.runSQLOnFiles=true",
            "insert overwrite directory 'FOLDER/out' using csv select 1",
            "create table t using csv location 'FOLDER/t' as select 1",
            "drop view data",
            "show tables",
            "add jar 'FOLDER/x.jar'",
            "cache table data",
        ),
        "a sql step is one query: SELECT … FROM data",
    ),
}


@pytest.fixture(scope="module")
def engine(spark: Any) -> Iterator[SparkEngine]:
    with SparkEngine({}) as engine:
        yield engine


@pytest.mark.parametrize("text", RESULTS)
def test_a_query_gives_what_spark_gives(text: str, engine: SparkEngine) -> None:
    kinds, rows = RESULTS[text]
    found = engine.query(text, {"data": engine.table(COLUMNS, ROWS)})
    assert list(found.columns.values()) == kinds
    assert sorted(engine.rows(f"SELECT * FROM {found.view}"), key=repr) == sorted(rows, key=repr)


@pytest.mark.parametrize("text", REFUSED)
def test_a_query_does_nothing_else(text: str, engine: SparkEngine, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    engine.session.table(engine.table(COLUMNS, ROWS)).createOrReplaceTempView("other")
    with pytest.raises(StageFailure, match=re.escape(REFUSED[text])):
        engine.query(text.replace("FOLDER", str(tmp_path)), {"data": engine.table(COLUMNS, ROWS)})
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    # Steps after it are as lenient as those before.
    assert engine.rows("SELECT CAST('x' AS BIGINT)") == [(None,)]
