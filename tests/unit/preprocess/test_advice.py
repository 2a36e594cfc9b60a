"""What people are told to do about a column fits its values, and works when it is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.local.preprocess.both import payload
from trainingjob.runtime import preprocess
from trainingjob.runtime.preprocess.profile import findings

from .features import failure, prepared

ROWS = 2400
CHANCE = np.random.default_rng(0)


def some(*values: str, most: int = 0) -> list[str]:
    """Any of these in each row."""
    return [str(values[number]) for number in CHANCE.integers(0, most or len(values), ROWS)]


def numbered(name: str, most: int) -> list[str]:
    return [f"{name}{row * 7 % most}" for row in range(ROWS)]


WORDS = [
    "the",
    "film",
    "was",
    "good",
    "bad",
    "long",
    "not",
    "very",
    "and",
    "we",
    "all",
    "liked",
    "hated",
    "it",
    "at",
    "first",
]
REVIEWS = [" ".join(CHANCE.choice(WORDS, 6)) + f" {row}" for row in range(ROWS)]

CLASSES = {"type": "classification", "label": "y"}
# The values of a feature that is text -> what FeatureNotNumeric says to it.
FEATURES: dict[str, tuple[list[Any], str]] = {
    "yes and no": (some("yes", "no"), "f: it says yes and no: `cast: {columns: {f: boolean}}`"),
    "numbers in quotes": (some("1", "2.5", "-3"), "f: all of it is numbers: `cast: {columns: {f: double}}`"),
    "an amount": (some("$1,234", "$12.50", "$99"), "f: it holds numbers in another form: `parseNumber: {columns: [f]}`"),
    "percent": (some("12%", "3.5%", "99 %"), "f: it holds numbers in another form: `parseNumber: {columns: [f]}`"),
    "in parentheses": (some("(3.5)", "12"), "f: it holds numbers in another form: `parseNumber: {columns: [f]}`"),
    "a decimal comma": (some("4,24", "0,5"), "f: it holds numbers in another form: `parseNumber: {columns: [f], decimal: ','}`"),
    "a decimal comma and points": (some("1.234,5", "17,25"), "f: it holds numbers in another form: `parseNumber: {columns: [f], decimal: ','}`"),
    "a unit": (some("5 kg", "17.5 kg"), "f: it holds numbers in another form: `parseNumber: {columns: [f], units: [kg]}`"),
    "mostly numbers": (some("1", "2", "3", "unknown"), "f: 1"),  # the count of them
    "days": (some("2020-01-31", "2021-12-01"), "f: it holds days: `cast: {columns: {f: date}}`, then `dateParts: {columns: [f], parts: [year, month, dayOfWeek]}`"),
    "times": (some("2020-01-31 10:00:00", "2021-12-01 23:59:59"), "f: it holds days: `cast: {columns: {f: timestamp}}`, then `dateParts: {columns: [f], parts: [year, month, dayOfWeek]}`"),
    "few categories": (some("red", "green", "blue"), "f: it has 3 categories: `oneHot: {columns: [f]}`"),
    "hundreds of categories": (numbered("city", 300), "f: it has 300 categories: `groupRare: {columns: [f], keep: 50}`, then oneHot; or `targetEncode: {columns: [f]}`"),
    "thousands of categories": (numbered("user", 1500), "f: it has 1500 categories: `hashEncode: {columns: [f]}` or `targetEncode: {columns: [f]}`; `groupRare: {columns: [f], keep: 50}`, then oneHot, for the frequent ones"),
    "free text": (REVIEWS, "f: it holds free text: `tfidf: {columns: [f]}` makes features of its words, `hashText: {columns: [f]}` does so without"),
    "long texts that repeat": ([text[:-6] * 3 for text in some(*REVIEWS[:40])], "f: it holds free text: `tfidf: {columns: [f]}`"),
    "names of rows": ([f"u{row}" for row in range(ROWS)], "f: nearly every row has a value of its own, of which no encoding makes a feature: `drop: {columns: [f]}`"),
    "no values": ([None] * ROWS, "f: it has no values: `drop: {columns: [f]}`"),
}  # fmt: skip


def table(values: list[Any], name: str = "f", **more: Any) -> pa.Table:
    kind = more.pop("kind", pa.string())
    return pa.table(
        {name: pa.array(values, kind), "x": CHANCE.normal(size=ROWS), "y": CHANCE.normal(size=ROWS)}
    )


def steps_of(message: str) -> list[dict[str, Any]]:
    """The steps that a message names; of such as exclude each other, the first."""
    found = [yaml.safe_load(text) for text in re.findall(r"`(\w+: \{.*?\})`", message)]
    if ", then `" not in message and "`, then oneHot" not in message:
        found = found[:1]
    if "`, then oneHot" in message:
        found = (
            [found[0], {"oneHot": {"columns": found[0]["groupRare"]["columns"]}}]
            if "groupRare" in found[0]
            else found[:1]
        )
    return found


@pytest.mark.parametrize("name", FEATURES)
def test_advice_fits_the_values_and_works(name: str, tmp_path: Path) -> None:
    values, words = FEATURES[name]
    data = table(values)
    told = failure(data, [], tmp_path, numericFeatures=True)
    assert told.split("; ", 1)[1][: len(words)] == words
    steps = steps_of(told)
    assert steps
    if "setNull" in told or any(value is None for value in values):
        steps.append({"fillna": {"strategy": "mean"}})
    prepared_without_id(data, steps, tmp_path)


def prepared_without_id(data: pa.Table, steps: list[dict[str, Any]], folder: Path) -> None:
    assert failure(data, steps, folder, numericFeatures=True) == ""


def test_days_with_the_year_at_the_end_are_told_with_their_format(tmp_path: Path) -> None:
    for values, form in (
        (some("31/12/2020", "01/02/2021"), "dd/MM/yyyy"),
        (some("12-31-20", "01-02-21"), "MM-dd-yy"),
        (some("31-Jan-2024", "1-Feb-2024"), "d-MMM-yyyy"),
        (some("Jan 31, 2024", "Feb 1, 2024"), "MMM d, yyyy"),
        (some("2024/01/31", "2024/02/01"), "yyyy/MM/dd"),
        (some("2024-01", "2024-02"), "yyyy-MM"),
    ):
        data = table(values)
        told = failure(data, [], tmp_path, numericFeatures=True)
        assert (
            f"`withColumn: {{name: f, expr: \"to_date(f, '{form}')\"}}`, then `dateParts: {{"
            in told
        )
        prepared_without_id(data, steps_of(told), tmp_path)


def test_days_and_months_that_may_be_either_are_told_as_both(tmp_path: Path) -> None:
    told = failure(table(some("01/02/2020", "03/04/2021")), [], tmp_path, numericFeatures=True)
    assert "'dd/MM/yyyy')\"}` or with 'MM/dd/yyyy', whichever is meant, then" in told


def test_classes_that_differ_in_case_alone_are_told(tmp_path: Path) -> None:
    data = table(some("1")).drop_columns(["f", "y"])
    data = data.append_column("y", pa.array(some("Yes", "yes", "no")))
    pq.write_table(data, tmp_path / "data.parquet")
    given = payload(
        "pandas", tmp_path / "data.parquet", tmp_path / "out", format="parquet", task=CLASSES
    )
    found = {one.reason: one.message for one in preprocess.run(given).outputs.warnings or ()}
    assert found["ClassesAlike"] == (
        'the label y has the classes "Yes" and "yes"; if they are one: '
        '`withColumn: {name: y, expr: "lower(trim(y))"}`'
    )


def test_a_quantity_is_no_class_unless_a_later_step_makes_one_of_it(tmp_path: Path) -> None:
    data, scale = table(some("1")).drop_columns(["f"]), {"scale": {"columns": ["x"]}}
    for split in ({}, {"stratify": True}):
        told = failure(data, [scale], tmp_path, task=CLASSES, split=split)
        assert told.startswith("LabelInvalid: the label y has the value -")
        assert told.endswith("which is no class; if it is a quantity, set task.type to regression")
    steps = [scale, {"withColumn": {"name": "y", "expr": "y > 0"}}]
    assert failure(data, steps, tmp_path, task=CLASSES) == ""


def test_a_quantity_is_not_divided_value_by_value(tmp_path: Path) -> None:
    data = table(some("1")).drop_columns(["f"])
    told = failure(data, [], tmp_path, split={"test": 0.2, "stratify": True})
    assert "divides the rows of each value of the label by themselves" in told


def test_dates_are_told_with_their_step(tmp_path: Path) -> None:
    data = table([row % 900 for row in range(ROWS)], kind=pa.date32())
    told = failure(data, [], tmp_path, numericFeatures=True)
    assert "f is a date: `dateParts: {columns: [f], parts: [year, month, dayOfWeek]}`" in told
    prepared_without_id(data, steps_of(told), tmp_path)


def test_names_are_quoted_as_yaml_wants_it(tmp_path: Path) -> None:
    for name in ("unit price", "a: b", "größe", "x,y", "1st", "[c]", '"q"', "no"):
        data = table(some("$1,234", "$5"), name)
        told = failure(data, [], tmp_path, numericFeatures=True)
        prepared_without_id(data, steps_of(told.split(f"{name}: ", 1)[1]), tmp_path)


@pytest.mark.parametrize("power", [3, 6, 9])
def test_times_in_parts_of_a_second_are_told_with_their_step(power: int, tmp_path: Path) -> None:
    data = table([(1_600_000_000 + row) * 10**power for row in range(ROWS)], kind=pa.int64())
    told = failure(data, [{"cast": {"columns": {"f": "timestamp"}}}], tmp_path)
    unit = {3: "milliseconds", 6: "microseconds", 9: "nanoseconds"}[power]
    assert f"a number is seconds since 1970; of {unit} `withColumn: " in told
    parts = {"dateParts": {"columns": ["f"], "parts": ["year"]}}
    _, tables = prepared(data, [*steps_of(told), parts], tmp_path)
    assert {*next(iter(tables.values()))["f_year"]} == {2020}


# A cast of such texts, and what its failure or warning says to do.
CASTS: dict[str, tuple[list[str], str, str]] = {
    "an amount": (some("$1,234", "$5"), "double", "use `parseNumber: {columns: [f]}` instead"),
    "percent to whole numbers": (some("12%", "5%"), "bigint", "use `parseNumber: {columns: [f]}` instead"),
    "a decimal comma": (some("1,5", "2,25"), "double", "use `parseNumber: {columns: [f], decimal: ','}` instead"),
    "categories": (some("red", "blue"), "double", "use oneHot for categories, hashText or tfidf for free text"),
    "yes and no": (some("yes", "no"), "double", "cast to boolean first"),
    "what stands for null": (["n/a"] * ROWS, "double", "set input.options.nullValues to what stands for null, or fill them with fillna"),
    "days with the year at the end": (some("31/12/2020", "01/02/2021"), "date", "use `withColumn: {name: f, expr: \"to_date(f, 'dd/MM/yyyy')\"}` instead, with the format that is meant"),
    "answers of one's own": (some("si", "hmm"), "boolean", "write which of them are true: `withColumn: {name: f, expr: \"f = '…'\"}`"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASTS)
def test_advice_to_a_cast_fits_the_values(name: str, tmp_path: Path) -> None:
    values, kind, words = CASTS[name]
    told = failure(table(values), [{"cast": {"columns": {"f": kind}}}], tmp_path)
    assert told.startswith(
        f"CastLosesValues: step 1 (cast): f: {ROWS} of {ROWS} values became null as {kind}, e.g. "
    )
    assert told.endswith(f"; {words}")


# A column of whole numbers, another in every row, and how its warning ends.
COUNTERS: dict[str, tuple[str, Any, str]] = {
    "a counter": ("t", np.arange(400), "whole numbers from 0 to 399: if they number the rows, `drop: {columns: [t]}`; if they are a time or an order that is known when the model is used, leave it"),
    "a counter that is named an id": ("user_id", np.arange(400), 'as "0": it names the row, and a model learns it by heart; `drop: {columns: [user_id]}`'),
    "large numbers": ("t", np.arange(400) * 7919 + 10**12, f'as "{10**12}": it names the row, and a model learns it by heart; `drop: {{columns: [t]}}`'),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_may_be_a_time(name: str) -> None:
    column, values, words = COUNTERS[name]
    data = pa.table({column: values, "y": np.random.default_rng(0).integers(0, 2, 400)})
    ((reason, message),) = findings(data, "y", True, 400)
    assert (reason, message) == (
        "IdLikeFeature",
        f"feature {column} has another value in each of the 400 rows looked at, {words}",
    )
