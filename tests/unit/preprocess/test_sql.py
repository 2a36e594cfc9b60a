"""The step ``sql`` on DuckDB: all of its SQL, over the data alone."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.local.preprocess.both import run, whole
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine

COLUMNS: dict[str, Any] = {"c": "string", "i": "bigint", "x": "double", "m": "timestamp"}
NOON = datetime.datetime(2020, 1, 2, 12)
ROWS = [("a", 1, 0.5, NOON), ("a", 2, 1.5, None), ("b", 3, None, NOON), (None, 3, 2.5, NOON)]

# Queries, the types of what they give, and its rows.
RESULTS: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "select c, sum(i) as s, avg(x) as a from data group by c": (
        ["string", "bigint", "double"],
        [("a", 3, 1.0), ("b", 3, None), (None, 3, 2.5)],
    ),
    "from data select i, m where x > 1": (["bigint", "timestamp"], [(2, None), (3, NOON)]),
    "select median(i) as m, var_samp(i) as v from data": (["double", "double"], [(2.5, 11 / 12)]),
    "select i, lag(i) over (order by i, x) as p from data qualify p is not null": (
        ["bigint", "bigint"],
        [(2, 1), (3, 2), (3, 3)],
    ),
    "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) select n from t": (
        ["bigint"],
        [(1,), (2,), (3,)],
    ),
    "select * exclude (x, m), 1 / 0 as z, 'nan'::double as y from data where i = 1": (
        ["string", "bigint", "double", "double"],
        [("a", 1, None, None)],
    ),
    "select a.i from data a semi join data b on a.i = b.i + 1": (["bigint"], [(2,), (3,), (3,)]),
    "select c::enum('a', 'b') as e, 1.25::decimal(4, 2) as d, current_date > '2020-01-01' as b "
    "from data where i = 2": (["string", "double", "boolean"], [("a", 1.25, True)]),
    "select i from data order by i desc, x limit 2": (["bigint"], [(3,), (3,)]),
}

# What a query must not do, and what the message says.
REFUSED: dict[str, str] = {
    "select nosuch, i from data": "there is no column nosuch (columns: c, i, x, m)",
    "select d.ii from data d": "ii",
    "select * from orders": "there is no table orders, only data",
    "select list(i) as l from data": "column l is of type list<",
    "select i as a, x as A from data": "differ only in case",
    "selec i from data": "syntax error",
    "select i from data where": "syntax error",
    "select cast(c as bigint) as b from data": "Could not convert string 'a' to INT64",
    "select i from data limit 3": "LIMIT needs ORDER BY",
    "select i from data where i = (select i from data limit 1)": "LIMIT needs ORDER BY",
    "select random() as r from data": "random gives another result at every run",
    "select i from data order by uuid() limit 1": "uuid gives another result at every run",
    "select * from data using sample 2 rows": "a sample has other rows at every run",
    "select * from data tablesample reservoir(20%)": "a sample has other rows at every run",
    "select write_log(c) as w from data": "write_log gives another result at every run",
    **dict.fromkeys(
        (
            "select * from 'FOLDER/secret.csv'",
            "select * from read_csv('FOLDER/secret.csv')",
            "select * from read_text('FOLDER/secret.csv')",
            "select * from glob('FOLDER/*')",
            "select * from query('from read_csv(''FOLDER/secret.csv'')')",
            "with s as (from 'FOLDER/secret.csv') select data.i from data, s",
        ),
        "it reads the table data alone, and no files",
    ),
    **dict.fromkeys(
        (
            "select 1 as a; select 2 as b",
            "",
            "copy data to 'FOLDER/out.csv'",
            "copy (select 1) to 'FOLDER/out.csv'",
            "attach 'FOLDER/out.db'",
            "set enable_external_access = true; select i from data",
            "reset enable_external_access",
            "install httpfs",
            "load httpfs",
            "create table t as select 1",
            "insert into data values (1)",
            "drop view data",
            "call pragma_version()",
            "pragma version",
            "export database 'FOLDER/out'",
            "checkpoint",
            "explain select 1",
            "prepare p as select 1",
            "begin transaction",
        ),
        "a sql step is one query: SELECT … FROM data",
    ),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckdbEngine]:
    with DuckdbEngine() as engine:
        yield engine


@pytest.mark.parametrize("text", RESULTS)
def test_a_query_gives_what_duckdb_gives(text: str, engine: DuckdbEngine) -> None:
    kinds, rows = RESULTS[text]
    found = engine.query(text, {"data": engine.table(COLUMNS, ROWS)})
    assert list(found.columns.values()) == kinds
    assert sorted(engine.rows(f"FROM {found.view}"), key=repr) == sorted(rows, key=repr)


@pytest.mark.parametrize("text", REFUSED)
def test_a_query_does_nothing_else(text: str, engine: DuckdbEngine, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    data = engine.table(COLUMNS, ROWS)
    with pytest.raises(StageFailure, match=re.escape(REFUSED[text])) as failed:
        engine.query(text.replace("FOLDER", str(tmp_path)), {"data": data})
    assert failed.value.reason in ("ExpressionInvalid", "ColumnNotFound", "DuplicateColumns", "StepFailed")  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert len(engine.rows(f"FROM {data}")) == len(ROWS)


def test_a_query_sees_no_variable_of_ours(engine: DuckdbEngine) -> None:
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(StageFailure, match="there is no table frame, only data"):
        engine.query("select * from frame", {"data": engine.table(COLUMNS, ROWS)})
    assert len(frame) == 1


def test_rows_of_a_query_stay_in_their_split_whatever_the_order_of_its_sums(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    frame = pd.DataFrame({"k": np.arange(40_000) % 1000, "x": chance.normal(size=40_000)})
    frame["y"] = frame.k % 2
    query = "select k, sum(x) as x, stddev_pop(x) as s, min(y) as y from data group by k"
    found = []
    for seed in range(3):
        source = tmp_path / f"{seed}.csv"
        frame.sample(frac=1, random_state=seed).to_csv(source, index=False)
        result = run("pandas", source, tmp_path / str(seed), [{"sql": {"query": query}}])
        found.append({s: sorted(table["k"].to_pylist()) for (s, _), table in result[1].items()})
    assert found[0] == found[1] == found[2]
    wanted = frame.groupby("k").x.agg(["sum", lambda x: x.std(ddof=0)]).to_numpy()
    got = whole(result).to_pandas().sort_values("k")[["x", "s"]].to_numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_a_query_that_fails_names_its_step(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("price,y\n1,2.5\n2,3.5\n")
    step = {"sql": {"query": "select prize, y from data"}}
    assert run("pandas", source, tmp_path / "out", [step]) == (
        "ColumnNotFound",
        "step 1 (sql): there is no column prize; did you mean price? (columns: price, y)",
    )
