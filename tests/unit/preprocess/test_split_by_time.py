"""Time: the latest rows are the test, on engine pandas. The other engine makes the same splits:
tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.runtime.preprocess import times
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import HASH, Frame, Layout
from trainingjob.runtime.preprocess.times import Times

from .own_splits import HELD_OUT, Made, refused, visits, written

TIMES = {
    "date": lambda day: pd.Timestamp("2024-02-20") + pd.to_timedelta(day, "D"),
    "timestamp": lambda day: (
        pd.Timestamp("2024-02-20 10:00:00.000007") + pd.to_timedelta(day, "us")
    ),
    "bigint": lambda day: day - 50,
    "double": lambda day: day / 7 - 3,
}


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("values", [6, 80_000])
def test_the_latest_rows_are_the_test_split(kind: str, values: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    when = TIMES[kind](pd.Series(rng.integers(0, values, 1000)))
    frame = pd.DataFrame({"id": range(1000), "when": when, "y": rng.choice(["a", "b"], 1000)})
    made = Made(written(tmp_path, frame), {"time": "when", "test": 0.2, "validation": 0.1})
    divided = frame.assign(split=frame["id"].map(made.where))
    ends = divided.groupby("split")["when"].agg(["min", "max"])
    assert ends["max"]["train"] < ends["min"]["validation"]
    assert ends["max"]["validation"] < ends["min"]["test"]
    ties = frame["when"].value_counts().max()
    assert abs((divided["split"] == "test").sum() - 200) <= ties / 2 + 1
    held_out = divided["split"].isin(HELD_OUT).sum()
    assert abs(held_out - (divided["split"] == "test").sum() - 100) <= ties
    if kind == "date":
        days = [f"{name} from {ends['min'][name]:%Y-%m-%d}" for name in reversed(HELD_OUT)]
        assert made.line == f"split by when: {', '.join(days)}: 1000 rows"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=60),
    st.data(),
)
def test_a_split_begins_where_the_sorted_rows_say(found: list[int], data: st.DataObject) -> None:
    """Also when few values are looked at at a time, and a sample may be of any rows."""
    wanted = data.draw(st.integers(1, len(found)))
    most = data.draw(st.sampled_from([1, 3, 1000]))
    places = data.draw(st.lists(st.integers(0, 1), min_size=len(found), max_size=len(found)))
    later = data.draw(st.sampled_from(sorted({sum(v > value for v in found) for value in found})))
    with DuckdbEngine() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "MOST_ROWS", most)
        patch.setattr(times, "_SAMPLE", 1)
        table = pa.table({"v": pa.array(found, pa.int64()), HASH: pa.array(places, pa.int64())})
        frame = Frame(engine._register(table), {}, ("v", HASH), Layout(len(found)))
        rows = Times(engine, frame, "v", "bigint")
        ordered = sorted(found)
        for rank in (0, len(found) // 2, len(found) - 1):
            assert rows.at(rank) == ordered[rank]
        before = min((v for v in found if sum(w >= v for w in found) <= later), default=None)
        begin, count = rows.begin(max(wanted, later + 1), later, before)
    reached = {v: sum(w >= v for w in found) for v in set(found)}
    allowed = {v: n for v, n in reached.items() if n > later}
    # All rows only where there is no other way.
    allowed = {v: n for v, n in allowed.items() if n < len(found)} or allowed
    assert begin in allowed
    assert count == reached[begin]
    wanted = max(wanted, later + 1)
    assert abs(count - wanted) == min(abs(n - wanted) for n in allowed.values())


def test_a_time_that_orders_nothing_is_refused(tmp_path: Path) -> None:
    frame = visits()
    frame["text"] = frame["when"].dt.strftime("%d/%m/%Y")
    frame["gaps"] = frame["when"].where(frame["id"] % 400 > 0)
    frame["year"] = 2024
    frame["years"] = 2023 + (frame["id"] % 10 > 0)
    source = written(tmp_path, frame)
    table = [
        (
            "text",
            "SplitInvalid",
            "text is a string, not a date, a timestamp or a number; use `withColumn: {name: text, "
            "expr: \"to_date(text, 'dd/MM/yyyy')\"}` instead, with the format that is meant",
        ),
        ("gaps", "SplitInvalid", "gaps is null in 3 of 1200 rows; fill it, or drop these rows"),
        ("year", "SplitEmpty", "year has too few different values for the splits (2024 in 1200"),
        ("years", "SplitEmpty", "(2023 in 120 rows, 2024 in 1080 rows)"),
        ("wen", "ColumnNotFound", "there is no column wen; did you mean when?"),
    ]
    for name, reason, words in table:
        found = refused(source, {"time": name})
        assert (found[0], words in found[1]) == (reason, True), found


def test_rows_of_one_time_that_are_many_are_told(tmp_path: Path) -> None:
    frame = visits().assign(year=lambda t: 2021 + (t["id"] % 10 > 1) + (t["id"] % 10 > 4))
    made = Made(written(tmp_path, frame), {"time": "year", "test": 0.2, "validation": 0.1})
    assert {name: len(table) for name, table in made.tables.items()} == {
        "train": 240,
        "validation": 360,
        "test": 600,
    }
    ((_, message),) = [one for one in made.warnings if one[0] == "SplitUneven"]
    assert message.startswith(
        "50% of the rows are in the test split, not 20%; 30% of the rows are in the validation "
        "split, not 10%: the rows of a time stay together"
    )
    assert made.line == "split by year: validation from 2022, test from 2023: 1200 rows"


def test_a_later_row_teaches_nothing(tmp_path: Path) -> None:
    """What is fitted comes from the rows before the border."""
    frame = visits().assign(x=lambda t: (t["when"] - t["when"].min()).dt.days)
    made = Made(
        written(tmp_path, frame),
        {"time": "when"},
        {"scale": {"columns": ["x"]}},
        {"drop": {"columns": ["when"]}},
    )
    assert made.tables["train"]["x"].mean() == pytest.approx(0, abs=1e-9)
    assert made.tables["train"]["x"].std(ddof=0) == pytest.approx(1)
    assert made.tables["test"]["x"].min() > made.tables["train"]["x"].max()
