"""Dates in a format mean in both engines what Spark's own ``to_date`` and ``to_timestamp`` say."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.expressions.compiler import compile_expression
from trainingjob.runtime.preprocess.expressions.date_formats import BadFormat, date_format

TEXTS = [
    None, "", "05/03/2024", "5/3/2024", "31/12/1999", "31/02/2024", "29/02/2023", "29/02/2024", "00/01/2024", "05/13/2024",
    "05/03/24", "05/03/2024 ", " 05/03/2024", "05/03/2024x", "05-03-2024", "2024-03-05", "20240305", "20240305070809",
    "05.03.2024 17:08", "05.03.2024 17:08:09", "05.03.2024 7:08", "05.03.2024 24:00", "05.03.2024 17:60", "05.03.2024 17:08:09.5",
    "05.03.2024 17:08:09.123", "05.03.2024 17:08:09.123456", "05.03.2024 17:08:09.1234567",
    "03/05/2024 07:08 PM", "03/05/2024 7:08 am", "03/05/2024 12:00 AM", "03/05/2024 12:00 pm", "03/05/2024 13:00 pm", "03/05/2024 00:00 AM",
    "5 Mar 2024", "05 Mar 2024", "05 mar 2024", "05 MAR 2024", "05 March 2024", "05-Mar-24", "March 5, 2024", "Mär 2024",
    "2024", "2024-03", "03/2024", "Mar 2024", "2024-03-05T17:08:09+05:30", "2024-03-05T17:08:09Z", "2024-03-05T17:08:09-08:00",
    "2024-03-05T17:08:09", "12/24/2024", "1/2/2024", "0001-01-01", "9999-12-31", "05/03/2024\n",
]  # fmt: skip

FORMATS = [
    "dd/MM/yyyy", "d/M/yyyy", "MM/dd/yyyy", "dd/MM/yy", "dd-MM-yyyy", "yyyy-MM-dd", "yyyyMMdd", "yyyyMMddHHmmss",
    "dd.MM.yyyy HH:mm", "dd.MM.yyyy H:mm", "dd.MM.yyyy HH:mm:ss", "dd.MM.yyyy HH:mm:ss.SSS", "dd.MM.yyyy HH:mm:ss.SSSSSS", "MM/dd/yyyy hh:mm a",
    "MM/dd/yyyy h:mm a", "d MMM yyyy", "dd MMM yyyy", "dd MMMM yyyy", "dd-MMM-yy", "MMMM d, yyyy", "yyyy", "yyyy-MM", "MM/yyyy", "MMM yyyy",
    "yyyy-MM-dd\\'T\\'HH:mm:ssXXX", "yyyy-MM-dd\\'T\\'HH:mm:ss",
]  # fmt: skip


def test_both_engines_read_formats_as_spark_does(spark: Any) -> None:
    expressions = [f"{f}(s, '{text}')" for text in FORMATS for f in ("to_date", "to_timestamp")]
    rows = [[text] for text in TEXTS]
    found: dict[str, list[Any]] = {}
    with DuckdbEngine() as duckdb_engine, SparkEngine({}) as spark_engine:
        # Compiling code for a handful of rows would take most of the time.
        spark_engine.session.conf.set("spark.sql.codegen.wholeStage", "false")
        spark_engine.session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        for name, engine in (("duckdb", duckdb_engine), ("spark", spark_engine)):
            view = engine.table({"s": "string"}, rows)
            sql = [
                compile_expression(e, {"s": "string"}, engine.dialect, "x").sql for e in expressions
            ]
            found[name] = _rows(engine, sql, view)
        found["oracle"] = _rows(spark_engine, expressions, view)
    wrong = [
        (expressions[column], text, *(rows[row][column] for rows in found.values()))
        for row, text in enumerate(TEXTS)
        for column in range(len(expressions))
        if len({str(rows[row][column]).removesuffix("+00:00") for rows in found.values()}) > 1
    ]
    assert wrong == []
    assert sum(value is not None for row in found["oracle"] for value in row) > 100


def _rows(engine: Any, sql: list[str], view: str) -> list[Any]:
    selected = ", ".join(f"{text} AS e{index}" for index, text in enumerate(sql))
    columns = "s, " + ", ".join(f"e{index}" for index in range(len(sql)))
    rows = engine.rows(f"SELECT {columns} FROM (SELECT s, {selected} FROM {view})")
    by_text = {row[0]: row[1:] for row in rows}
    return [by_text[text] for text in TEXTS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EEE, dd MMM yyyy", "the letters EEE"),
        ("dd/MM", "no year"),
        ("dd/MM/yyyy dd", "the day twice"),
        ("dd/MM/yyyy hh:mm", "go together"),
        ("yyyy'T", "a quote that is not closed"),
    ],
)
def test_a_format_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadFormat, match=words):
        date_format(text)
