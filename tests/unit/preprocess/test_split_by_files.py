"""Files hold the splits, on engine pandas. The other engine makes the same splits:
tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from .own_splits import Made, refused, visits, written


def test_files_hold_splits(tmp_path: Path) -> None:
    frame = visits()
    train = written(tmp_path, frame[:800], "own/train/a.csv").parent
    written(tmp_path, frame[800:900], "own/dev/b.csv")
    # Columns go by name, and a column's type is that of all its files.
    written(tmp_path, frame[900:][frame.columns[::-1]], "own/test.csv")
    files = {"test": f"file://{tmp_path}/own/test.csv"}
    both = files | {"validation": f"file://{tmp_path}/own/d*/*.csv"}
    made = Made(train, {"files": both})
    sizes = {"train": 800, "validation": 100, "test": 300}
    assert {name: len(table) for name, table in made.tables.items()} == sizes
    assert list(made.tables["train"].columns) == list(frame.columns)
    assert set(made.tables["test"]["id"]) == set(range(900, 1200))
    assert made.line == "split as the files are: 1200 rows"
    made = Made(train, {"files": files, "validation": 0.25, "seed": 1})
    assert {name: len(table) for name, table in made.tables.items()} == {
        "train": 600,
        "validation": 200,
        "test": 300,
    }
    assert set(made.tables["validation"]["id"]) < set(range(800))


def test_rows_of_the_test_that_are_trained_on_are_told(tmp_path: Path) -> None:
    frame = visits(200)
    train = written(tmp_path, frame[:150], "train.csv")
    split = {"files": {"test": f"file://{tmp_path}/test.csv"}}
    for begin, told in ((150, False), (148, False), (140, True)):
        written(tmp_path, frame[begin:], "test.csv")
        found = [
            message for reason, message in Made(train, split).warnings if reason == "RowsShared"
        ]
        words = (
            f"preprocess.split.files: {150 - begin} of {200 - begin} rows of test are in train, too"
        )
        assert [one.startswith(words) for one in found] == [True] * told


def test_folders_of_files_may_give_columns(tmp_path: Path) -> None:
    frame = visits(300)
    for number, name in enumerate(("train/year=2022", "train/year=2023", "test/year=2024")):
        written(tmp_path, frame[100 * number :][:100], f"own/{name}/a.csv")
    made = Made(tmp_path / "own/train", {"files": {"test": f"file://{tmp_path}/own/test"}})
    assert {name: set(t["year"]) for name, t in made.tables.items() if len(t)} == {
        "train": {2022, 2023},
        "test": {2024},
    }
    reason, message = refused(
        tmp_path / "own/train", {"files": {"test": f"file://{tmp_path}/own/test/year=2024"}}
    )
    assert reason == "ColumnsDiffer"
    assert "year=2024 lies in folders of no partition, " in message


def test_steps_see_each_file_for_itself(tmp_path: Path) -> None:
    """Rows of the test that are in training as well stay, and a query goes over each split."""
    frame = pd.DataFrame({"id": range(100), "x": 1.0, "y": [0, 1] * 50})
    train = written(tmp_path, frame, "train.csv")
    written(tmp_path, frame[:40], "test.csv")
    split = {"files": {"test": f"file://{tmp_path}/test.csv"}}
    made = Made(
        train,
        split,
        {"dropDuplicates": {}},
        {"sql": {"query": "select id, y, count(*) over () as n from data"}},
    )
    assert {name: set(t["n"]) for name, t in made.tables.items() if len(t)} == {
        "train": {100},
        "test": {40},
    }


def test_a_script_keeps_the_column_of_the_split(tmp_path: Path) -> None:
    frame = visits()
    train = written(tmp_path, frame[:900], "train.csv")
    written(tmp_path, frame[900:], "test.csv")
    split = {"files": {"test": f"file://{tmp_path}/test.csv"}}
    script = "def preprocess(frame, context):\n    return frame.assign(z=1.0){}\n"
    made = Made(train, split, script={"inline": script.format("")})
    assert set(made.tables["test"]["id"]) == set(range(900, 1200))
    reason, message = refused(train, split, script={"inline": script.format("[['x', 'y']]")})
    assert reason == "ScriptInvalid"
    assert message.startswith("the script's frame has no column trainingjob_split")


def test_what_files_cannot_be(tmp_path: Path) -> None:
    frame = visits()
    train = written(tmp_path, frame[:900], "own/train/a.csv")
    written(tmp_path, frame[900:].drop(columns="y"), "own/test.csv")
    written(tmp_path, frame[:0], "empty.csv")
    written(tmp_path, frame[900:].assign(y=None), "to-predict.csv")
    table = [
        (train, "own/test.csv", "ColumnsDiffer", "own/test.csv lacks y"),
        (tmp_path / "own", "own/train", "SplitInvalid", "is of preprocess.input and of preproc"),
        (train, "nothing.csv", "InputNotFound", "preprocess.split.files.test: file://"),
        (train, "empty.csv", "SplitEmpty", "the test split has no rows"),
        (train, "to-predict.csv", "LabelHasNulls", "300 of 1200 rows, all those of the test split"),
    ]
    for source, test, reason, words in table:
        found = refused(source, {"files": {"test": f"file://{tmp_path}/{test}"}})
        assert (found[0], words in found[1]) == (reason, True), found


@pytest.mark.parametrize(
    "names, mixed",
    [
        (("train/a.csv", "test/a.csv"), True),
        (("train.csv", "test.csv", "val.csv"), True),
        (("train-00000-of-00001.csv", "test-00000-of-00001.csv"), True),
        (("2023/a.csv", "2024/a.csv"), False),
        (("train/a.csv", "train/b.csv"), False),
        (("test.csv", "train.csv", "other.csv"), False),
    ],
    ids=str,
)
def test_splits_that_somebody_has_made_are_not_mixed_unseen(
    names: tuple[str, ...], mixed: bool, tmp_path: Path
) -> None:
    for number, name in enumerate(names):
        written(
            tmp_path,
            visits(200, 20).assign(id=lambda t, n=number: t["id"] + 200 * n),
            f"own/{name}",
        )
    made = Made(tmp_path / "own", {})
    assert bool(made.reasons("SplitsMixed")) == mixed
