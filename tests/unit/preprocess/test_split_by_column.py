"""A column says where each row goes, on engine pandas. The other engine makes the same splits:
tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainingjob.runtime.dataset.manifest import SPLITS

from .own_splits import Made, refused, visits, written


def test_a_column_says_where_rows_go_and_is_no_feature(tmp_path: Path) -> None:
    frame = visits()
    rng = np.random.default_rng(0)
    words = {
        "train": ["train", "Training", " TRAIN "],
        "validation": ["validation", "val", "Valid", "dev", "VALIDATE"],
        "test": ["test", "Testing"],
    }
    split = rng.choice(SPLITS, len(frame), p=[0.6, 0.1, 0.3])
    frame["fold"] = [rng.choice(words[name]) for name in split]
    source = written(tmp_path, frame)
    for steps in ([], [{"drop": {"columns": ["fold"]}}], [{"scale": {"columns": ["x"]}}]):
        made = Made(source, {"column": "fold"}, *steps)
        assert made.where == dict(zip(frame["id"], split, strict=True))
        assert "fold" not in made.tables["train"]
    assert made.line == "split as fold says, which is no feature: 1200 rows"


def test_shares_of_the_training_rows_are_drawn_where_the_column_gives_none(tmp_path: Path) -> None:
    frame = visits()
    frame["fold"] = np.where(frame["id"] % 4 == 0, "test", "train")
    source = written(tmp_path, frame)
    made = Made(source, {"column": "fold"})
    assert {name: len(table) for name, table in made.tables.items()} == {
        "train": 900,
        "validation": 0,
        "test": 300,
    }
    made = Made(source, {"column": "fold", "validation": 0.1, "seed": 3})
    assert {name: len(table) for name, table in made.tables.items()} == {
        "train": 810,
        "validation": 90,
        "test": 300,
    }
    assert set(made.tables["test"]["id"]) == set(frame["id"][frame["fold"] == "test"])
    reason, message = refused(source, {"column": "fold", "test": 0.1})
    assert reason == "SplitInvalid"
    assert "300 rows of fold say test already: leave preprocess.split.test out" in message


def test_values_that_name_no_split_are_told_with_their_counts(tmp_path: Path) -> None:
    frame = visits()
    frame["fold"] = [("train", "test", "hold-out", None)[min(i % 10, 3)] for i in frame["id"]]
    frame["number"] = frame["id"] % 5
    frame["is_test"] = frame["id"] % 5 == 0
    frame["all_test"] = "test"
    source = written(tmp_path, frame)
    reason, message = refused(source, {"column": "fold"})
    assert (reason, message) == (
        "SplitInvalid",
        'preprocess.split.column: fold has values that name no split: null (840 rows), "hold-out" '
        "(120 rows); write train, validation or test in it, say `withColumn: {name: fold, expr: "
        "\"case when fold = 'hold-out' then 'test' else fold end\"}`",
    )
    for name, shown in (("number", '"0" (240 rows), "1" (240 rows)'), ("is_test", '"False" (960')):
        reason, message = refused(source, {"column": name})
        assert (reason, shown in message) == ("SplitInvalid", True), message
        # What it says helps; the rarest of the values is for the test.
        expression = message.split('expr: "')[1].split('"}')[0]
        step = {"withColumn": {"name": name, "expr": expression}}
        assert len(Made(source, {"column": name}, step).tables["train"]) == 960
    assert refused(source, {"column": "all_test"}) == (
        "SplitEmpty",
        "preprocess.split.column: no row of all_test says train",
    )


def test_a_class_stays_where_the_column_has_it(tmp_path: Path) -> None:
    frame = visits()
    frame["fold"] = np.where(frame["id"] % 4 == 0, "test", "train")
    frame.loc[0, "y"] = "new"
    made = Made(written(tmp_path, frame), {"column": "fold"})
    ((_, message),) = [one for one in made.warnings if one[0] == "ClassRare"]
    assert message == (
        "the train split has no row of class new; to do without these classes, set "
        "preprocess.split.rare"
    )
    assert "new" in set(made.tables["test"]["y"])
