"""Columns that no dataset can hold, and columns with dots in their names: what steps may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local.preprocess.both import run, whole
from trainingjob.runtime.preprocess import stage

ROWS = [
    {"y": i / 4, "user": {"age": 20 + i, "city": "ab"[i % 2]}, "tags": ["t"] * (i % 3), "e": [i, 1]}
    for i in range(12)
]
KEEP_ALL = {"test": 0.0, "validation": 0.0}
SCRIPT = {
    "inline": "def preprocess(frame, context):\n"
    "    frame['n'] = [len(tags) for tags in frame.pop('tags')]\n"
    "    return frame\n"
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.json"
    path.write_text(json.dumps(ROWS, indent=1))
    return path


USED: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "as a feature": ([], {}, "the features: column tags has lists of texts"),
    "as a listed feature": ([], {"task": {"type": "regression", "label": "y", "features": ["tags"]}}, "task.features: column tags has lists of texts"),
    "as the label": ([], {"task": {"type": "regression", "label": "tags"}}, "task.label: column tags has lists of texts"),
    "selected": ([{"select": {"columns": ["y", "tags"]}}], {}, "step 1 (select): column tags has lists of texts"),
    "in an expression": ([{"filter": {"where": "tags is not null"}}], {}, "step 1 (filter): column tags has lists of texts"),
    "in a fitted step": ([{"fillna": {"strategy": "mode", "columns": ["tags"]}}], {"task": {"type": "regression", "label": "y", "features": ["e_0"]}}, "step 1 (fillna): column tags has lists of texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", USED)
def test_a_column_that_nothing_can_hold_is_refused_where_it_is_used(
    name: str, source: Path, tmp_path: Path
) -> None:
    steps, more, message = USED[name]
    assert run("pandas", source, tmp_path / "out", steps, format="json", **more) == (
        "ColumnUnreadable",
        message,
    )


@pytest.mark.parametrize(
    "steps", [[], [{"scale": {"columns": ["e_0"]}}], [{"rename": {"columns": {"e_0": "x"}}}]]
)
def test_it_is_refused_before_rows_are_divided(
    steps: list[dict[str, Any]], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "split_rows", pytest.fail)
    found = run("pandas", source, tmp_path / "out", steps, format="json")
    assert found == ("ColumnUnreadable", "the features: column tags has lists of texts")


LEFT_OUT: dict[str, tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = {
    "dropped": ([{"drop": {"columns": ["tags"]}}], {}, ["y", "user.age", "user.city", "e_0", "e_1"]),
    "dropped late": ([{"filter": {"where": "y < 9"}}, {"drop": {"columns": ["tags", "user.city"]}}], {}, ["y", "user.age", "e_0", "e_1"]),
    "dropped by a pattern after rows are divided": ([{"scale": {"columns": ["e_0"]}}, {"drop": {"columns": ["t*", "user*"]}}], {}, ["y", "e_0", "e_1"]),
    "replaced": ([{"withColumn": {"name": "tags", "expr": "y + 1"}}, {"drop": {"columns": ["user*"]}}], {}, ["y", "e_0", "e_1", "tags"]),
    "replaced by another name": ([{"rename": {"columns": {"e_0": "tags"}}}, {"drop": {"columns": ["user*"]}}], {}, ["y", "tags", "e_1"]),
    "not selected": ([{"select": {"columns": ["user.age", "y"]}}], {}, ["user.age", "y"]),
    "no feature": ([], {"task": {"type": "regression", "label": "user.age", "features": ["e_1", "y"]}}, ["e_1", "y", "user.age"]),
    "made into another": ([], {"script": SCRIPT}, ["y", "user.age", "user.city", "e_0", "e_1", "n"]),
    "left out by a query": ([{"sql": {"query": "select e_0, y from data"}}], {}, ["e_0", "y"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_it_cannot_fail_a_job_that_leaves_it_out(name: str, source: Path, tmp_path: Path) -> None:
    steps, more, columns = LEFT_OUT[name]
    result = run("pandas", source, tmp_path / "out", steps, format="json", split=KEEP_ALL, **more)
    assert whole(result).column_names == columns


DOTTED: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "a filter": ({"filter": {"where": "user.age >= 30"}}, "user.age", [30, 31]),
    "a filter with quotes": ({"filter": {"where": "`user.age` >= 30"}}, "user.age", [30, 31]),
    "a new column": ({"withColumn": {"name": "user.old", "expr": "user.age > 30"}}, "user.old", [False] * 11 + [True]),
    "a cast": ({"cast": {"columns": {"user.age": "double"}}}, "user.age", [float(20 + i) for i in range(12)]),
    "another name": ({"rename": {"columns": {"user.age": "age"}}}, "age", [20 + i for i in range(12)]),
    "categories": ({"encodeLabels": {"columns": ["user.city"]}}, "user.city", [0] * 6 + [1] * 6),
    "one column a category": ({"oneHot": {"columns": ["user.city"]}}, "user.city_b", [0] * 6 + [1] * 6),
    "a scale": ({"scale": {"method": "minmax", "columns": ["user.age"]}}, "user.age", [i / 11 for i in range(12)]),
    "a null filled": ({"fillna": {"strategy": "mean", "columns": ["user.age"]}}, "user.age", [20 + i for i in range(12)]),
    "no duplicates": ({"dropDuplicates": {"subset": ["user.city"]}}, "user.city", ["a", "b"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DOTTED)
def test_names_with_dots_work_in_steps(name: str, source: Path, tmp_path: Path) -> None:
    step, column, values = DOTTED[name]
    steps = [{"drop": {"columns": ["tags"]}}, step]
    result = run("pandas", source, tmp_path / "out", steps, format="json", split=KEEP_ALL)
    assert sorted(whole(result)[column].to_pylist()) == pytest.approx(values)


def test_what_a_list_or_an_object_became_is_named(source: Path, tmp_path: Path) -> None:
    for column, names in (("e", "e_0, e_1"), ("user", "user.age, user.city")):
        step = {"drop": {"columns": [column]}}
        assert run("pandas", source, tmp_path / "out", [step], format="json") == (
            "ColumnNotFound",
            f"step 1 (drop): {column} is here as {names}: name those",
        )


def test_files_of_splits_have_the_same_keys(tmp_path: Path) -> None:
    rows = [{"y": i / 4, "u": {"a": i} if i % 3 else {}, "z": 1} for i in range(12)]
    for name, some in (("train", rows), ("test", rows[:4]), ("less", [{"y": 1, "u": {"a": 2}}])):
        (tmp_path / f"{name}.json").write_text("\n".join(map(json.dumps, some)))
    for test, message in (("test", ""), ("less", "z is not in the files of the split test")):
        split = {"files": {"test": f"file://{tmp_path}/{test}.json"}}
        result = run(
            "pandas", tmp_path / "train.json", tmp_path / "out", format="json", split=split
        )
        assert result[0] == "ColumnsDiffer" if message else whole(result).num_rows == 16
        assert not message or message in result[1]
