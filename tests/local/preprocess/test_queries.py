"""Every query of the table gives the same in both engines and in Spark itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.spark_sql import write_values
from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine, Frame
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.expressions.queries import Relation, compile_query
from trainingjob.runtime.preprocess.input.read import read_input

# Without the numbers whose sums overflow, which is null to us; and sums of doubles that a column
# of any order has to the last digits.
_DATA = (
    "SELECT n, if(i BETWEEN -999 AND 999, i, NULL) AS i, if(j BETWEEN -999 AND 999, j, NULL) AS j, "
    "if(x BETWEEN -999 AND 999, x, NULL) AS x, s, b, f, d, m FROM {0}"
)
QUERIES = [
    # filters
    "select n, s from data where s not like 'a%'",
    "select n from data where not s ilike 'a%' and i not in (1, null)",
    "select n from data where i not between 0 and 5 or not b",
    "select n from data where s in (1, 7) or i in ('1', '7')",
    # groups
    "select b, sum(i) as i, avg(x) as x, min(s) as s, max(d) as d, count(*) as n from data group by b",
    "select b, f, count(x) as n from data group by b, f having count(x) > 3",
    "select b as k, count(*) as n from data group by k",
    "select i % 3 as k, count(*) as n from data group by 1",
    "select s, sum(i) as i from data group by s having sum(i) > 2 and s is not null",
    "select b, max(n) as n from data group by b having n > 2",
    "select b, sum(n) as n from data group by b having n > 100",
    "select count_if(b) as c, bool_and(b) as a, bool_or(f) as o, count(distinct s) as t from data",
    "select sum(x) as s, count(x) as c, avg(i) as a, max(b) as m from data where false",
    "select sum(i) as i from data having sum(i) > 8",
    "select distinct b, f from data",
    # windows
    "select n, rank() over (partition by b order by i desc) as r, dense_rank() over (order by x) as q from data",
    "select n, row_number() over (partition by f order by n desc) as r from data",
    "select n, lag(i) over (order by n) as p, lead(s, 2) over (order by n desc) as q from data",
    "select n, sum(n) over (partition by b order by n) as t from data",
    "select n, count(*) over () as c, max(x) over (partition by f) as m from data",
    # joins
    "select a.n, c.i from data a join data c on a.n = c.n and a.b",
    "select a.n, c.n as m from data a left join (select n from data where n < 5) c on a.n = c.n",
    "select a.n as p, c.n as m from data a full join (select n + 260 as n from data) c on a.n = c.n",
    "select a.n as p, c.n as m from data a right join (select n + 260 as n from data) c on a.n = c.n",
    "select a.n as p, c.n as m from (select n from data where n < 3) a cross join (select n from data where n < 3) c",
    "with a as (select b, avg(i) as m from data group by b) select a.m, d.n from data d join a on a.b = d.b",
    # sets
    "select i from data union select j as i from data",
    "select i from data union all select x from data",
    "select s from data union select i from data",
    "select i from data except select j from data",
    "select i from data intersect select j from data",
    # order
    "select n, case when i > 0 then 'p' else 'n' end as c from data order by n limit 7",
    "select n, x from data order by x desc nulls first, n limit 9",
    "select n, x from data order by x, n limit 9",
    "select n, i from data order by i desc, n limit 9",
    # names
    "select n as i, i as n from data where n < 9",
    "select n as i from data where i > 0",
    "select data.n, `data`.`i` as k from data where DATA.N < 3",
    "select d.* from data d where d.n < 3",
]


@pytest.fixture(scope="module")
def engines(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("queries") / "values.parquet"
    write_values(path)
    source = Input(uri=f"file://{path}", format="parquet")
    with DuckdbEngine() as one, SparkEngine({}) as other:
        yield [(engine, _data(engine, read_input(engine, source))) for engine in (one, other)]


def _data(engine: Engine, frame: Frame) -> Frame:
    view = engine.view(_DATA.format(frame.view))
    return Frame(view, {name: frame.columns[name] for name, _ in engine.columns_of(view)})


@pytest.mark.parametrize("query", QUERIES)
def test_both_engines_and_spark_itself_give_the_same(query: str, engines: Any) -> None:
    results = []
    for engine, frame in engines:
        data = Relation(f"SELECT * FROM {frame.view}", frame.columns)
        results.append(_rows(engine, compile_query(query, data, engine.dialect, "test").sql))
    engine, frame = engines[1]
    oracle = _rows(engine, f"SELECT * FROM {engine.spark_query(query, frame.view)}")
    assert results[0] == results[1]
    assert len(results[0]) == len(oracle)
    for ours, theirs in zip(results[0], oracle, strict=True):
        assert all(map(_close, ours, theirs)), (ours, theirs)


def _rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return sorted(engine.rows(sql), key=repr)


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    return repr(one) == repr(other)
