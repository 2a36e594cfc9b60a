"""Columns by pattern and type, and texts that are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.dataset import suitable
from trainingjob.runtime.dataset.meant import matches, meant

from .features import failure, prepared

COLUMNS = {
    "id": pa.array([f"r{row}" for row in range(40)]),
    "price_net": pa.array([row / 4 for row in range(40)]),
    "price_gross": pa.array([row / 2 for row in range(40)]),
    "price": pa.array([str(row % 7) for row in range(40)]),
    "a*b": pa.array([row % 5 for row in range(40)]),
    "temp [C]": pa.array([row * 1.5 for row in range(40)]),
    "price_y": pa.array([row % 3 for row in range(40)]),
}
LABEL = {"type": "regression", "label": "price_y"}

# Steps, and the columns that are left.
CHOSEN: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "drop a pattern, which leaves the label": ([{"drop": {"columns": ["price_*"]}}], ["id", "price", "a*b", "temp [C]", "price_y"]),
    "drop a type": ([{"drop": {"types": ["double"]}}], ["id", "price", "a*b", "price_y"]),
    "drop names and types": ([{"drop": {"columns": ["price"], "types": ["bigint", "double"]}}], ["id", "price_y"]),
    "select a pattern, and the label with it": ([{"select": {"columns": ["id", "*gross"]}}], ["id", "price_gross", "price_y"]),
    "select types": ([{"select": {"columns": ["id"], "types": ["double"]}}], ["id", "price_net", "price_gross", "temp [C]", "price_y"]),
    "a name with a star is itself": ([{"drop": {"columns": ["a*b"]}}], ["id", "price_net", "price_gross", "price", "temp [C]", "price_y"]),
    "brackets and question marks are no pattern": ([{"drop": {"columns": ["temp [C]", "pri*_n*"]}}], ["id", "price_gross", "price", "a*b", "price_y"]),
    "in any list of columns": ([{"scale": {"columns": ["*_*"]}}, {"dropna": {"subset": ["p*"]}}], list(COLUMNS)),
}  # fmt: skip

NOT_THERE = {
    "cost_*": "ColumnNotFound: step 1 (drop): no column is named like cost_* (columns: id, price_net",
    "prise_*": "ColumnNotFound: step 1 (drop): no column is named like prise_*; there is price",
    "Price*": "ColumnNotFound: step 1 (drop): no column is named like Price*; there is price_net, price_gross, price (",
    "*_y": "ColumnNotFound: step 1 (drop): only the label price_y is such a column",
}


@pytest.mark.parametrize("name", CHOSEN)
def test_columns_are_chosen(name: str, tmp_path: Path) -> None:
    steps, left = CHOSEN[name]
    manifest, _ = prepared(pa.table(COLUMNS), steps, tmp_path, task=LABEL)
    assert list(manifest.columns) == left


def test_the_manifest_has_their_names(tmp_path: Path) -> None:
    steps = [{"drop": {"types": ["string"], "columns": ["*_net"]}}]
    data = pa.table(COLUMNS).append_column("z", pa.array([1.0] * 40))
    steps[0]["drop"]["columns"].append("a*")
    keep = [{"select": {"columns": ["id", "*"]}}, {"scale": {"columns": ["*gross"]}}]
    manifest, _ = prepared(data, keep, tmp_path, task=LABEL)
    assert [entry["step"] for entry in manifest.pipeline] == [
        {"select": {"columns": [*(n for n in data.column_names if n != "price_y"), "price_y"]}},
        {"scale": {"method": "standard", "columns": ["price_gross"]}},
    ]


@pytest.mark.parametrize("pattern", NOT_THERE)
def test_a_pattern_of_no_column_is_told(pattern: str, tmp_path: Path) -> None:
    told = failure(pa.table(COLUMNS), [{"drop": {"columns": [pattern]}}], tmp_path, task=LABEL)
    assert told[: len(NOT_THERE[pattern])] == NOT_THERE[pattern]


def test_a_type_of_no_column_is_told(tmp_path: Path) -> None:
    told = failure(pa.table(COLUMNS), [{"drop": {"types": ["date"]}}], tmp_path, task=LABEL)
    assert told.startswith(
        "ColumnNotFound: step 1 (drop): no column is a date (columns: id (string), price_net (double)"
    )


# Steps that say something of each column, and the columns and types that are left.
OF_EACH: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "cast a pattern, which leaves the label": ([{"cast": {"columns": {"price*": "string"}}}], {"price_net": "string", "price_gross": "string", "price": "string", "price_y": "bigint"}),
    "a name counts more than a pattern": ([{"cast": {"columns": {"price_net": "bigint", "p*": "string"}}}], {"price_net": "bigint", "price_gross": "string"}),
    "rename a pattern": ([{"rename": {"columns": {"price_*": "cost of *", "id": "key"}}}], {"key": "string", "cost of net": "double", "cost of gross": "double", "price_y": "bigint"}),
    "rename a name with a star": ([{"rename": {"columns": {"a*b": "c"}}}], {"c": "bigint"}),
}  # fmt: skip
REFUSED = {
    "cast": ({"cast": {"columns": {"cost_*": "string"}}}, "ColumnNotFound: step 1 (cast): no column is named like cost_*"),
    "no star in the new name": ({"rename": {"columns": {"price_*": "cost"}}}, "ColumnNotFound: step 1 (rename): price_*: cost: a pattern and the new name have one * each"),
    "two columns of one name": ({"rename": {"columns": {"price_*": "*_y", "price_y": "gross_y"}}}, "DuplicateColumns: step 1 (rename): column gross_y appears twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_EACH)
def test_patterns_say_something_of_each(name: str, tmp_path: Path) -> None:
    steps, wanted = OF_EACH[name]
    manifest, _ = prepared(pa.table(COLUMNS), steps, tmp_path, task=LABEL)
    assert {column: manifest.columns.get(column) for column in wanted} == wanted
    assert len(manifest.columns) == len(COLUMNS)


@pytest.mark.parametrize("name", REFUSED)
def test_patterns_that_say_nothing_are_told(name: str, tmp_path: Path) -> None:
    step, words = REFUSED[name]
    told = failure(pa.table(COLUMNS), [step], tmp_path, task=LABEL)
    assert told[: len(words)] == words


# task.features, and the features of a dataset with these columns.
LISTS = {"e": [[0.5, 1.5]] * 40, "u": [{"v": 1, "w": 2}] * 40, "price_2": range(40)}
FEATURES: dict[str, tuple[list[str], list[str] | str]] = {
    "a pattern, which leaves the label": (["price_*"], ["price_net", "price_gross", "price_2"]),
    "a list": (["id", "e"], ["id", "e_0", "e_1"]),
    "an object, and a part of it": (["u.w", "u"], ["u.w", "u.v"]),
    "a name and a pattern of it": (["price", "*ic*"], ["price", "price_net", "price_gross", "price_2"]),
    "nothing": (["cost_*"], "task.features: there is no column cost_* (columns: "),
    "no list, by its look": (["net"], "task.features: there is no column net"),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features_may_be_patterns_and_lists(name: str, tmp_path: Path) -> None:
    features, found = FEATURES[name]
    data = pa.table({**COLUMNS, **{k: pa.array(v) for k, v in LISTS.items()}})
    task = {**LABEL, "features": features}
    if isinstance(found, str):
        assert found in failure(data, [], tmp_path, task=task)
        return
    manifest, _ = prepared(data, [], tmp_path, task=task)
    assert manifest.features == found
    again = suitable.features(manifest, Task.model_validate(task))
    assert sorted(again) == sorted(found)


def test_what_only_looks_like_a_list_is_none() -> None:
    assert meant("price", ["price_2", "price_3"]) == []
    assert meant("e", ["e_1", "e_0", "e.x"]) == ["e_1", "e_0", "e.x"]


@pytest.mark.parametrize(
    ("pattern", "name", "same"),
    [
        ("*", "", True), ("a*", "a", True), ("a*a", "a", False), ("a*a", "aba", True), ("*b*", "abc", True),
        ("*b*c*b", "abcab", True), ("*b*c*b", "abacb", True), ("a*b*b", "ab", False), ("*ab*ab*", "ab", False), ("a.c*", "abc", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, same: bool) -> None:
    assert matches(pattern, name) is same


# Texts, and the number that a person reads; None for no number. By a point, then by a comma.
POINT: dict[str, float | None] = {
    "7": 7, "-7": -7, "+7": 7, " 7 ": 7, "007": 7, "1.5": 1.5, ".5": 0.5, "5.": 5, "1e3": 1000, "2.5E-3": 0.0025, "-1e-3": -0.001,
    "$1,234": 1234, "$ 1,234.50": 1234.5, "-$5": -5, "$-5": -5, "€12": 12, "12 €": 12, "£1,234,567.89": 1234567.89, "₹12,34,567": 1234567,
    "12%": 0.12, "12.5 %": 0.125, "-3%": -0.03, "(3.5)": -3.5, "($1,234)": -1234, "$(12)": -12, "(12%)": -0.12,
    "1 234": 1234, "1\u00a0234\u202f567": 1234567, "1'234.5": 1234.5, "\u22125": -5, "5 kg": 5, "USD 1,000": 1000, "1,000kg": 1000,
    "1,23": None, "1.234.567": None, "12,3456": None, "1 2": None, "": None, "abc": None, "n/a": None, "1-2": None, "12 lb": None, "(5": None,
    "5)": None, "--5": None, "1e": None, "$": None, "%": None, "1.2.3": None, "٣": None, "5\n": None, "0x10": None, "NaN": None, "inf": None, "1e999": None,
}  # fmt: skip
COMMA: dict[str, float | None] = {
    "1.234,5": 1234.5, "1,5": 1.5, "1.234": 1234, "12,5 %": 0.125, "1 234,5": 1234.5, "(1.000,00 €)": -1000, ",5": 0.5,
    "1.5": None, "1,234.5": None, "1.23,4": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("decimal", "texts", "units"), [(".", POINT, ["kg", "USD"]), (",", COMMA, None)], ids=[".", ","]
)
def test_numbers_as_people_write_them(
    decimal: str, texts: dict[str, float | None], units: list[str] | None, tmp_path: Path
) -> None:
    data = pa.table(
        {
            "id": list(texts),
            "price": list(texts),
            "n": [1] * len(texts),
            "y": [1.0, 2.0] * (len(texts) // 2) + [0.0] * (len(texts) % 2),
        }
    )
    step = {"columns": ["price", "n"], "decimal": decimal, "units": units, "invalid": "setNull"}
    manifest, parts = prepared(data, [{"parseNumber": step}], tmp_path)
    found = {row.id: row.price for part in parts.values() for row in part.itertuples()}
    assert {text: None if value != value else value for text, value in found.items()} == texts
    assert (manifest.columns["price"], manifest.columns["n"]) == ("double", "double")
    lost = sum(value is None for value in texts.values())
    assert f"price: {lost} of {len(texts)} values are no numbers" in manifest.pipeline[0]["account"]


# Texts of which some are no numbers, and the remedy.
REMEDIES: dict[str, tuple[list[str], str, str]] = {
    "nulls": (["1", "n/a"], ".", 'price: 20 of 40 values are no numbers, e.g. "n/a"; set input.options.nullValues to what stands for null, or `invalid: setNull` here'),
    "a decimal comma": (["1,25", "2,5"], ".", "price: 40 of 40 values are no numbers, e.g. \"1,25\" and \"2,5\"; set `decimal: ','` if that is their decimal mark"),
    "a decimal point": (["1.25", "2.5"], ",", "price: 40 of 40 values are no numbers, e.g. \"1.25\" and \"2.5\"; set `decimal: '.'` if that is their decimal mark"),
    "a unit": (["1", "3 kg"], ".", 'price: 20 of 40 values are no numbers, e.g. "3 kg"; set `units: [kg]`'),
    "two units": (["EUR 1,000", "3 USD"], ".", 'price: 40 of 40 values are no numbers, e.g. "3 USD" and "EUR 1,000"; set `units: [USD, EUR]`'),
    "no numbers": (["1", "Rome"], ".", 'price: 20 of 40 values are no numbers, e.g. "Rome"; `invalid: setNull` makes null of them'),
}  # fmt: skip


@pytest.mark.parametrize("name", REMEDIES)
def test_what_is_no_number_is_told(name: str, tmp_path: Path) -> None:
    texts, decimal, remedy = REMEDIES[name]
    data = pa.table({"price": (texts * 40)[:40], "y": [float(row) for row in range(40)]})
    told = failure(data, [{"parseNumber": {"columns": ["price"], "decimal": decimal}}], tmp_path)
    assert told == f"CastLosesValues: step 1 (parseNumber): {remedy}"


def test_a_date_is_no_text(tmp_path: Path) -> None:
    data = pa.table({"d": pa.array([0] * 9, pa.date32()), "y": [1.0] * 9})
    told = failure(data, [{"parseNumber": {"columns": ["d"]}}], tmp_path)
    assert told == "StepFailed: step 1 (parseNumber): column d is a date: parseNumber reads texts"
