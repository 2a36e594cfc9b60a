"""The whole stage on engine pandas: what SQL in its steps leaves of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.local.preprocess.both import run, whole

# name, smoker, y
_LINES = ["test-1,yes,1.5", "test-2,no,2.5", "a,Y,3.5", "b,f,4.5", "c,T,5.5", "d,maybe,6.5"]
_KEEP_ALL = {"test": 0.0, "validation": 0.0}


@pytest.mark.parametrize(
    "step, column, values",
    [
        ({"filter": {"where": "name not like 'test%'"}}, "name", ["a", "b", "c", "d"]),
        ({"filter": {"where": "not name like 'test%'"}}, "name", ["a", "b", "c", "d"]),
        ({"filter": {"where": "name not ilike 'TEST%' and y < 5"}}, "name", ["a", "b"]),
        (
            {"sql": {"query": "select name, y from data where name not like 'test%'"}},
            "name",
            ["a", "b", "c", "d"],
        ),
        (
            {"cast": {"columns": {"smoker": "boolean"}}},
            "smoker",
            [False, False, None, True, True, True],
        ),
        (
            {"withColumn": {"name": "s", "expr": "cast(smoker as boolean)"}},
            "s",
            [False, False, None, True, True, True],
        ),
    ],
    ids=str,
)
def test_a_step_does_what_its_sql_says(
    step: dict[str, Any], column: str, values: list[Any], tmp_path: Path
) -> None:
    source = tmp_path / "data.csv"
    source.write_text("name,smoker,y\n" + "\n".join(_LINES) + "\n")
    result = run("pandas", source, tmp_path / "out", [step], split=_KEEP_ALL)
    assert sorted(whole(result)[column].to_pylist(), key=repr) == sorted(values, key=repr)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x;y\n1;2,5\n2;3,5\n", "`parseNumber: {columns: [y], decimal: ','}`"),
        ("x,y\nm,EUR\n1,2\n2,3\n", '2 of 3 values are numbers, others are not, e.g. "EUR"'),
        ("x,y\n1,yes\n2,no\n", "set task.type to classification"),
        ("X,Y\n1,2\n2,3\n", "task.label: there is no column y; did you mean Y? (columns: X, Y)"),
        ("Report,\n,\nx,y\n1,2\n", "c1 has no name in the first line, and line 3 looks like names"),
    ],
    ids=[
        "decimal commas",
        "a line of units",
        "classes",
        "a name in capitals",
        "lines before the table",
    ],
)
def test_a_label_that_is_no_number_says_why(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text(text)
    reason, told = run("pandas", source, tmp_path / "out")
    assert (reason in ("LabelInvalid", "LabelMissing"), message in told) == (True, True), told


def test_a_word_that_engine_pandas_does_not_have_is_named(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("x,y\n1,2.5\n")
    step = {"filter": {"where": "x between symmetric 5 and 0"}}
    assert run("pandas", source, tmp_path / "out", [step]) == (
        "ExpressionInvalid",
        "step 1 (filter): SYMMETRIC in x between symmetric 5 and 0 is not available in engine "
        "pandas: use engine spark",
    )
