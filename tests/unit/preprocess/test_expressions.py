"""Spark SQL expressions: what they give, compiled for DuckDB and run there, and which are refused.

The values are Spark's: ``tests/local/preprocess/test_expressions.py`` compares with Spark itself.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from tests.spark_sql import COLUMNS, EXPRESSIONS
from tests.spark_sql import REFUSED as WITHOUT_TRANSLATION
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.expressions import compiler as expressions
from trainingjob.runtime.preprocess.expressions.compiler import compile_expression
from trainingjob.runtime.preprocess.expressions.dialect import Dialect
from trainingjob.runtime.preprocess.expressions.duckdb_dialect import DUCKDB
from trainingjob.runtime.preprocess.expressions.functions import FUNCTIONS
from trainingjob.runtime.preprocess.expressions.spark_dialect import SPARK
from trainingjob.runtime.preprocess.expressions.syntax import Unportable, parse

DIALECTS = (DUCKDB, SPARK)
day, moment = datetime.date, datetime.datetime

# Columns of the one row that expressions are run over.
ROW: dict[str, Any] = {
    "i": 7,
    "k": -7,
    "x": 2.5,
    "s": "test-1",
    "p": "100%",
    "b": True,
    "f": False,
    "d": day(2020, 2, 29),
    "m": moment(2020, 2, 29, 12, 34, 56, 789012),
    "none": None,
}
KINDS: dict[str, Any] = {
    **dict.fromkeys("ik", "bigint"),
    "x": "double",
    **dict.fromkeys(("s", "p", "none"), "string"),
    **dict.fromkeys("bf", "boolean"),
    "d": "date",
    "m": "timestamp",
}

VALUES: dict[str, Any] = {
    # NOT before every predicate
    "s not like 'test%'": False,
    "s not like 'x%'": True,
    "not s like 'test%'": False,
    "none not like 'test%'": None,
    "s ilike 'TEST%'": True,
    "s not ilike 'TEST%'": False,
    "s not rlike '^test'": False,
    "s not in ('a', 'b')": True,
    "s not in ('a', null)": None,
    "i not between 1 and 6": True,
    "i not between 7 and 9": False,
    "i between 9 and 7": False,
    "i not between null and 5": True,
    "none is not null": False,
    "b is not true": False,
    "f is not true": True,
    "not b and f": False,
    "not (b and f)": True,
    "! b": False,
    "!b or f": False,
    "not f = b": True,
    # LIKE: escapes and lists
    r"p like '100\%'": True,
    r"s like '100\%'": False,
    "p like '100!%' escape '!'": True,
    "p not like '100!%' escape '!'": False,
    "s like any ('a%', 'test%')": True,
    "s like all ('a%', 'test%')": False,
    "s not like any ('a%', 'test%')": True,
    "s not like all ('a%', 'test%')": False,
    "s like some ('test_1')": True,
    "s like any ('a%', null)": None,
    "s not like all ('a%', null)": None,
    "s not ilike all ('A%', 'B%')": True,
    # nulls
    "null = null": None,
    "null <=> null": True,
    "i <=> null": False,
    "i is distinct from null": True,
    "not null": None,
    "null and f": False,
    "null or b": True,
    "coalesce(null, i)": 7,
    "nullif(i, 7)": None,
    "nvl2(none, 1, 2)": 2,
    # CASE
    "case when i > 0 then 'a' end": "a",
    "case i when 1 then 'a' when 7 then 'b' end": "b",
    "case none when null then 1 else 2 end": 2,
    "if(null, 1, 2)": 2,
    # numbers
    "i / 2": 3.5,
    "k div 2": -3,
    "k % 3": -1,
    "i % -3": 1,
    "i / 0": None,
    "i div 0": None,
    "9223372036854775807 + 1": None,
    "- -1": 1,
    "2 - 3 - 4": -5,
    "100 / 10 / 2": 5.0,
    "round(2.5)": 3.0,
    "round(-2.5)": -3.0,
    "round(2.675, 2)": 2.68,
    "1e3": 1000.0,
    "1L + 1": 2,
    # text
    "'it''s'": "it's",
    '"it\'s"': "it's",
    "'a' 'b'": "ab",
    r"r'\d'": r"\d",
    r"'\\d'": r"\d",
    "'a' || null": None,
    "substring('hello', 0, 3)": "hel",
    "substring('hello', -3, 2)": "ll",
    "substring('hello', 2)": "ello",
    "concat_ws(',', 'a', null, 'b')": "a,b",
    "regexp_replace('a1b2', '[0-9]', '')": "ab",
    # dates
    "date '2020-1-2'": day(2020, 1, 2),
    "add_months('2020-01-31', 1)": day(2020, 2, 29),
    "add_months(d, 9223372036854775807)": None,
    "date_add(d, -9223372036854775807)": None,
    "datediff('2020-01-02', '2020-01-01')": 1,
    "dayofweek(d)": 7,
    "weekday(d)": 5,
    # precedence
    "true or false and false": True,
    "i = 7 is null": False,
    "1 + 2 || 'a'": "3a",
    "'a' || (1 + 2)": "a3",
    # names
    "`i` + I": 14,
    # casts of other types
    "cast(m as double)": 1582979696.789012,
    "cast(m as bigint)": 1582979696,
    "cast(b as timestamp)": moment(1970, 1, 1, 0, 0, 0, 1),
    "cast(x as bigint)": 2,
    "cast(300 as tinyint)": None,
    "cast(0.1 as boolean)": True,
    "try_cast('1.5' as bigint)": None,
    "try_cast('15' as bigint)": 15,
    "try_cast('yes' as boolean)": True,
}

# text: boolean, bigint, double, date, timestamp
NEW_YEAR = day(2020, 1, 2)
CASTS: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    **dict.fromkeys(("t", "TRUE", " true\t", "y", "Yes"), (True, None, None, None, None)),
    **dict.fromkeys(("f", "False", "n", "NO", "\nno "), (False, None, None, None, None)),
    "1": (True, 1, 1.0, None, None),
    "0": (False, 0, 0.0, None, None),
    "on": (None, None, None, None, None),
    "": (None, None, None, None, None),
    " 12 ": (None, 12, 12.0, None, None),
    "+5": (None, 5, 5.0, None, None),
    "-5": (None, -5, -5.0, None, None),
    "+-5": (None, None, None, None, None),
    "1.5": (None, 1, 1.5, None, None),
    "-1.5": (None, -1, -1.5, None, None),
    ".5": (None, 0, 0.5, None, None),
    "5.": (None, 5, 5.0, None, None),
    ".": (None, 0, None, None, None),
    "1e3": (None, None, 1000.0, None, None),
    "1d": (None, None, 1.0, None, None),
    "1.5F": (None, None, 1.5, None, None),
    "0x1p3": (None, None, 8.0, None, None),
    "1_000": (None, None, None, None, None),
    "1,000": (None, None, None, None, None),
    "4,24": (None, None, None, None, None),
    "NaN": (None, None, None, None, None),
    "Infinity": (None, None, None, None, None),
    "9223372036854775808": (None, None, 9.223372036854775808e18, None, None),
    "-9223372036854775808": (None, -(2**63), -9.223372036854775808e18, None, None),
    "9" * 5000: (None, None, None, None, None),
    "0" * 5000 + "7": (None, 7, 7.0, None, None),
    "2020": (None, 2020, 2020.0, day(2020, 1, 1), moment(2020, 1, 1)),
    "2020-1": (None, None, None, day(2020, 1, 1), moment(2020, 1, 1)),
    "2020-1-2": (None, None, None, NEW_YEAR, moment(2020, 1, 2)),
    " 2020-01-02 ": (None, None, None, NEW_YEAR, moment(2020, 1, 2)),
    "2020-02-30": (None, None, None, None, None),
    "2020-01-02 noon": (None, None, None, NEW_YEAR, None),
    "2020-01-02T3:4": (None, None, None, NEW_YEAR, moment(2020, 1, 2, 3, 4)),
    "2020-01-02 03:04:05": (None, None, None, NEW_YEAR, moment(2020, 1, 2, 3, 4, 5)),
    "2020-01-02 03:04:05.1234567": (None, None, None, NEW_YEAR, moment(2020, 1, 2, 3, 4, 5, 123456)),
    "2020-01-02T03:04:05Z": (None, None, None, NEW_YEAR, moment(2020, 1, 2, 3, 4, 5)),
    "2020-01-02 03:04:05+05:30": (None, None, None, NEW_YEAR, moment(2020, 1, 1, 21, 34, 5)),
    "2020-01-02 03:04:05 UTC+1": (None, None, None, NEW_YEAR, moment(2020, 1, 2, 2, 4, 5)),
    "2020-07-02 03:04:05 Europe/Berlin": (None, None, None, day(2020, 7, 2), moment(2020, 7, 2, 1, 4, 5)),
    "2020-01-02 24:00:00": (None, None, None, NEW_YEAR, None),
    "03:04:05": (None, None, None, None, None),  # Spark: today
    "20200102": (None, 20200102, 20200102.0, None, None),
    "10000-01-01": (None, None, None, None, None),
}  # fmt: skip

# Texts that both engines are spared from, and what the message names.
REFUSED = {
    "i between symmetric 9 and 1": "SYMMETRIC",
    "i not between symmetric 9 and 1": "SYMMETRIC",
    "s like 'a' escape 'xy'": "ESCAPE 'xy'",
    "s like none": "LIKE with the computed pattern none",
    "s like any ('a') escape '!'": "ESCAPE after",
    "s similar to 'a'": "SIMILAR TO",
    "s collate utf8_lcase = 'a'": "COLLATE",
    "cast(s as date format 'yyyy')": "TO_DATE",
    "cast(s as decimal(10, 2))": "the type decimal(10, 2)",
    "cast(s as timestamp_ntz)": "the type timestamp_ntz",
    "i = k < x": "without parentheses",
    "i = 7 in (true)": "without parentheses",
    "i < k < x": "without parentheses",
    "'a' || 1 + 2": "without parentheses",
    "i in (select 1)": "IN with a query",
    "i between 1 and": "something is missing",
    "sinh(2, 8)": "function sinh with 2 arguments",
    "2 ** 3": "Unexpected token",
    "i < 9223372036854775808": "a whole number of more than 64 bits",
    "extract(second from m)": "EXTRACT(SECOND FROM m)",
    "unix_timestamp(s)": "unix_timestamp of a text",
}
INVALID = {
    "d + 1": "d is a date, not a number: cast it first",
    "i + s": "s is a string, not a number: cast it first",
    "cast(b as date)": "a boolean cannot be cast to a date",
    "cast(d as bigint)": "a date cannot be cast to a bigint",
    r"s like 'a\\b'": "before what is not _, % or",
    "s like 'a!' escape '!'": "before what is not _, % or !",
    "1e400": "1e400 is too large for a double",
    "1e": "1e is no number",
    "date '2020-02-30'": "'2020-02-30' is no date",
    "timestamp '10:20'": "'10:20' is no timestamp",
    "if(b, true, 1)": "bigint and boolean have no type in common",
    "greatest(i, s)": "greatest takes arguments of one type",
    "rand()": "another result at every run",
    "i is true": "i is a bigint, not a condition",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckdbEngine]:
    with DuckdbEngine() as engine:
        yield engine


@pytest.mark.parametrize("text", VALUES)
def test_an_expression_gives_what_spark_gives(text: str, engine: DuckdbEngine) -> None:
    expected = VALUES[text]
    view = engine.table(KINDS, [[ROW[name] for name in KINDS]])
    compiled = compile_expression(text, KINDS, DUCKDB, "test")
    ((found,),) = engine.rows(f"SELECT {compiled.sql} FROM {view}")
    assert repr(found) == repr(expected)


def test_a_text_is_cast_as_spark_does(engine: DuckdbEngine) -> None:
    kinds = ("boolean", "bigint", "double", "date", "timestamp")
    view = engine.table({"s": "string"}, [[text] for text in CASTS])
    sql = [compile_expression(f"cast(s as {k})", {"s": "string"}, DUCKDB, "").sql for k in kinds]
    found = {
        text: tuple(values)
        for text, *values in engine.rows(f"SELECT s, {', '.join(sql)} FROM {view}")
    }
    assert {t: tuple(map(repr, v)) for t, v in found.items()} == {
        t: tuple(map(repr, v)) for t, v in CASTS.items()
    }


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("text", REFUSED)
def test_what_we_do_not_write_is_refused_by_name(text: str, dialect: Dialect) -> None:
    with pytest.raises(Unportable, match=re.escape(REFUSED[text])):
        compile_expression(text, KINDS, dialect, "test")


@pytest.mark.parametrize("text", WITHOUT_TRANSLATION)
def test_what_is_not_in_the_table_is_refused_and_never_a_crash(text: str) -> None:
    for dialect in DIALECTS:
        with pytest.raises((Unportable, StageFailure)):
            compile_expression(text, COLUMNS, dialect, "test")


@pytest.mark.parametrize("text", INVALID)
def test_what_has_no_meaning_is_refused_with_words(text: str) -> None:
    with pytest.raises(StageFailure, match=re.escape(INVALID[text])):
        compile_expression(text, KINDS, DUCKDB, "test")


def test_no_word_is_lost_whatever_the_parser_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that puts a word into a part that we do not know, of any kind of node in any place."""
    seen = set()
    for text in EXPRESSIONS:
        for place, node in enumerate(parse(text).walk()):
            kind = (type(node), type(node.parent), node.arg_key)
            if kind in seen:
                continue
            seen.add(kind)
            # The parser's own tree, with one more part somewhere.
            monkeypatch.setattr(expressions, "parse", lambda t, at=place: _with_word(t, at))
            with pytest.raises(Unportable, match="NOVELTY"):
                compile_expression(text, COLUMNS, DUCKDB, "test")


def _with_word(text: str, place: int) -> exp.Expr:
    tree = parse(text)
    dict.__setitem__(list(tree.walk())[place].args, "novelty", True)
    return tree


def test_the_documentation_has_every_function() -> None:
    page = (Path(__file__).parents[3] / "docs" / "sql.md").read_text()
    assert [name for name in FUNCTIONS if not re.search(rf"[ `]{name}[ `]", page)] == []


def test_the_text_for_each_engine() -> None:
    golden = {
        "s not like 'a_b'": ("((NOT (\"s\" LIKE 'a_b')))", "((NOT (`s` LIKE 'a_b')))"),
        r"s like '1\%'": (
            "(((\"s\" LIKE '1\\%' ESCAPE '\\')))",
            "(((`s` LIKE '1\\\\%' ESCAPE '\\\\')))",
        ),
        "i not in (1, k)": (
            '(NOT ("i" IN (CAST(\'1\' AS BIGINT), "k")))',
            "(NOT (`i` IN (CAST('1' AS BIGINT), `k`)))",
        ),
        "cast(s as boolean)": (None, "CAST(`s` AS BOOLEAN)"),
        "try_cast(s as bigint)": (None, "try_cast(`s` AS BIGINT)"),
        "i / x": (
            '(CAST("i" AS DOUBLE) / nullif("x", CAST(\'0.0\' AS DOUBLE)))',
            "(CAST(`i` AS DOUBLE) / nullif(`x`, 0.0D))",
        ),
    }
    for text, wanted in golden.items():
        for dialect, sql in zip(DIALECTS, wanted, strict=True):
            found = expressions.Compiler(KINDS, dialect, "").compile(parse(text)).sql
            assert sql in (None, found)


LONG: dict[str, int] = {
    "length(repeat(s, 2000000000))": 1024 * 2_000_000_000,
    "repeat(repeat(repeat('ab', 1000), 1000), 1000)": 2 * 10**6,
    "lpad(s, 2000000000, 'x')": 2_000_000_000,
    "case when b then rpad(s, 1048577, ' ') end": 2**20 + 1,
    "replace(replace(s, 't', repeat('b', 1000)), 'b', 'cc')": 2 * 1000 * 1024,
    "regexp_replace(repeat(s, 1000), '[a-z]', 'abc')": 3 * 1000 * 1024,
    "repeat(s, 600) || repeat(s, 600)": 2 * 600 * 1024,
    "concat_ws(repeat(s, 600), s, s)": 600 * 1024 * 4 + 2048,
}


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_a_text_that_an_expression_makes_is_bounded(text: str, dialect: Dialect) -> None:
    with pytest.raises(StageFailure) as caught:
        compile_expression(text, KINDS, dialect, "step 1 (withColumn)")
    assert caught.value.reason == "ExpressionInvalid"
    assert f"makes a text of up to {LONG[text]} characters" in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["repeat(s, 1024)", "lpad(s, 1048576, '0')", "replace(s, 'a', 'bb')", " || ".join("s" * 100)],
    ids=len,
)
def test_texts_of_some_length_are_none_too_long(text: str) -> None:
    assert compile_expression(text, KINDS, DUCKDB, "here").kind == "string"
