"""Queries of the step ``sql``: what they give on DuckDB, and which words are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlglot import exp

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.expressions import queries
from trainingjob.runtime.preprocess.expressions.dialect import DUCKDB, SPARK
from trainingjob.runtime.preprocess.expressions.queries import Relation, compile_query
from trainingjob.runtime.preprocess.expressions.syntax import Unportable, parse

COLUMNS: dict[str, Any] = {"c": "string", "i": "bigint", "x": "double"}
ROWS = [("a", 1, 0.5), ("a", 2, 1.5), ("b", 3, None), (None, 3, 2.5)]

RESULTS: dict[str, list[tuple[Any, ...]]] = {
    "select * from data where c not like 'a%'": [("b", 3, None)],
    "select c from data where not c like 'a%' or c is null": [("b",), (None,)],
    "select c, count(*) as n, sum(x) as x from data group by c having n > 1": [("a", 2, 2.0)],
    "select c, sum(i) as i from data group by c having sum(i) > 2 and c is not null": [
        ("a", 3),
        ("b", 3),
    ],
    "select sum(i) as i from data having sum(i) > 8": [(9,)],
    "select distinct i from data order by i desc limit 2": [(3,), (2,)],
    "select i from data order by x": [(1,), (2,), (3,), (3,)],
    "select /*+ broadcast(data) */ count(distinct i) as n from data": [(3,)],
    "select i as j from data group by j": [(1,), (2,), (3,)],
    "with a as (select c, i from data) select a.i from a join data b on a.i = b.i and b.c = 'b'": [
        (3,),
        (3,),
    ],
    "select i from data intersect select 3 as i from data": [(3,)],
    "select i from data where i < 2 union all select 9 as i from data where i = 1": [(1,), (9,)],
    "select i, row_number() over (order by i desc, x) as p from data": [
        (1, 4),
        (2, 3),
        (3, 1),
        (3, 2),
    ],
    "select lag(i, 1) over (order by i) as before from data": [(1,), (2,), (3,), (None,)],
    "select c, sum(i) over (partition by c) as t from data where c = 'a'": [("a", 3), ("a", 3)],
}

REFUSED = {
    "select i from data tablesample (10 percent)": "SAMPLE in select i",
    "select i from data lateral view explode(c) as z": "LATERALS in",
    "select i from data order by i limit 3 offset 2": "OFFSET in",
    "select a.i from data a join data b using (i)": "USING",
    "select i from data natural join data b": "NATURAL",
    "select * except (i) from data": "EXCEPT in",
    "select i from data qualify row_number() over (order by i) = 1": "QUALIFY in",
    "select i from data for update": "LOCKS in",
    "with recursive a as (select i from data) select i from a": "RECURSIVE in",
    "select i from data group by all": "ALL in",
    "select i from data group by rollup(i)": "ROLLUP",
    "select i from data sort by i": "SORT in",
    "select i from data distribute by i": "DISTRIBUTE in",
    "select i from data t (a, b, c)": "COLUMNS in",
    "select i from data pivot (sum(x) for c in ('a'))": "PIVOTS in",
    "select sum(x) filter (where i > 1) as z from data": "FILTER",
    "select sum(x) over (order by i rows 1 preceding) as z from data": "the window",
    "select lag(i) ignore nulls over (order by i) as z from data": "IGNORE NULLS",
    "select i from data except all select i from data": "EXCEPT ALL",
    "select a.i from data a left semi join data b on a.i = b.i": "SEMI JOIN",
    "select i from data where i in (select i from data)": "IN with a query",
    "select i, sum(x) over w as z from data window w as (order by i)": "WINDOWS in",
    "select percentile(x, 0.5) as z from data": "function percentile",
    "select c, count(*) as n from data group by c order by count(*) limit 1": "ORDER BY of an aggregate",
    "select i from data where i between symmetric 3 and 1": "SYMMETRIC in",
}
INVALID = {
    "select i from data limit 3": "LIMIT needs ORDER BY",
    "select nosuch from data": "there is no column nosuch",
    "select i + 1 from data": "give i + 1 a name with AS",
    "select a.b.i from data": "at most a table's name",
    "delete from data": "a sql step is a query",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckdbEngine]:
    with DuckdbEngine() as engine:
        yield engine


@pytest.mark.parametrize("query", RESULTS)
def test_a_query_gives_what_spark_gives(query: str, engine: DuckdbEngine) -> None:
    data = Relation(f"SELECT * FROM {engine.table(COLUMNS, ROWS)}", COLUMNS)
    found = engine.rows(compile_query(query, data, DUCKDB, "test").sql)
    assert sorted(found, key=repr) == sorted(RESULTS[query], key=repr)


@pytest.mark.parametrize("query", REFUSED)
def test_what_we_do_not_write_is_refused_by_name(query: str) -> None:
    for dialect in (DUCKDB, SPARK):
        with pytest.raises(Unportable, match=re.escape(REFUSED[query])):
            compile_query(query, Relation("data", COLUMNS), dialect, "test")


@pytest.mark.parametrize("query", INVALID)
def test_what_has_no_meaning_is_refused_with_words(query: str) -> None:
    with pytest.raises(StageFailure, match=re.escape(INVALID[query])):
        compile_query(query, Relation("data", COLUMNS), DUCKDB, "test")


@pytest.mark.parametrize("query", RESULTS)
def test_no_word_is_lost_whatever_the_parser_makes_of_it(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, node in enumerate(parse(query).walk()):
        if _does_not_matter(node):
            continue
        monkeypatch.setattr(queries, "parse", lambda text, at=place: _with_word(text, at))
        with pytest.raises(Unportable, match="NOVELTY"):
            compile_query(query, Relation("data", COLUMNS), DUCKDB, "test")


def _does_not_matter(node: exp.Expr) -> bool:
    """Whether a node is of a hint, or of an ORDER BY without LIMIT: rows have no order."""
    part = (
        node if isinstance(node, exp.Hint | exp.Order) else node.find_ancestor(exp.Hint, exp.Order)
    )
    if not isinstance(part, exp.Order):
        return part is not None
    return isinstance(part.parent, exp.Select) and not part.parent.args.get("limit")


def _with_word(text: str, place: int) -> exp.Expr:
    tree = parse(text)
    dict.__setitem__(list(tree.walk())[place].args, "novelty", True)
    return tree
