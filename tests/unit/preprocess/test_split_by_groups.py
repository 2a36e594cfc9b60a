"""Groups: rows of one patient stay together, on engine pandas. The other engine makes the same splits:
tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from trainingjob.runtime.preprocess import groups
from trainingjob.runtime.preprocess.engines.frame import SPLIT_NUMBER
from trainingjob.runtime.preprocess.groups import assigned

from .own_splits import Made, refused, visits, written


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("by", [["patient"], ["patient", "clinic"], ["when"]], ids=str)
def test_no_group_is_in_two_splits_and_shares_are_right(
    by: list[str], stratify: bool, tmp_path: Path
) -> None:
    frame = visits()
    split = {"by": by, "test": 0.2, "validation": 0.1, "seed": 8, "stratify": stratify}
    made = Made(written(tmp_path, frame), split)
    divided = frame.assign(split=frame["id"].map(made.where))
    assert divided["split"].notna().all()
    assert (divided.groupby(by)["split"].nunique() == 1).all()
    largest = frame.groupby(by).size().max()
    for name, share in (("test", 0.2), ("validation", 0.1)):
        assert abs((divided["split"] == name).sum() - share * len(frame)) <= largest, name


def test_shares_of_groups_are_nearer_than_those_of_scikit_learn(tmp_path: Path) -> None:
    """GroupShuffleSplit gives a share of the groups, StratifiedGroupKFold a fold of the rows."""
    frame = visits()
    source = written(tmp_path, frame)
    wanted = 0.2 * len(frame)
    ill = (frame["y"] == "ill").mean()

    def errors(test: pd.DataFrame) -> tuple[float, float]:
        return abs(len(test) - wanted), abs((test["y"] == "ill").mean() - ill)

    split = {"by": ["patient"], "test": 0.2, "validation": 0.0}
    plain = [errors(Made(source, split | {"seed": s}).tables["test"]) for s in range(3)]
    stratified = [
        errors(Made(source, split | {"seed": s, "stratify": True}).tables["test"]) for s in range(3)
    ]
    shuffled = GroupShuffleSplit(20, test_size=0.2, random_state=0)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    theirs, theirs_stratified = (
        [errors(frame.iloc[test]) for _, test in one.split(frame, frame["y"], frame["patient"])]
        for one in (shuffled, folds)
    )
    assert np.mean(plain, axis=0)[0] <= np.mean(theirs, axis=0)[0]
    rows, share = np.mean(stratified, axis=0)
    assert rows <= np.mean(theirs_stratified, axis=0)[0] + 0.01 * len(frame)
    assert share <= max(np.mean(theirs_stratified, axis=0)[1], 0.01)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 0.2, 0.5]),
    st.sampled_from([0.0, 0.1, 0.4]),
)
def test_a_share_is_missed_by_half_of_the_largest_group_at_most(
    sizes: list[list[int]], test: float, validation: float
) -> None:
    sizes = [[one, max(other, 1)] for one, other in sizes]
    counts = np.array(sizes).sum(axis=1, keepdims=True)
    taken = assigned(counts, {"test": test, "validation": validation})
    rows, largest = counts.sum(), counts.max()
    left = len(counts)
    for name, share in (("test", test), ("validation", validation)):
        members = counts[taken == SPLIT_NUMBER[name]]  # type: ignore[index]
        left -= len(members)
        if not share:
            assert not len(members)
        elif abs(members.sum() - share * rows) > largest / 2:
            # One group alone, since all are larger than twice the share; or each of the others is
            # needed for another split.
            assert len(members) == 1 or left == 1 + bool(validation and name == "test")
    assert (taken == SPLIT_NUMBER["train"]).any()
    by_class = assigned(np.array(sizes), {"test": test, "validation": validation})
    wanted = {"train", *(["test"] if test else []), *(["validation"] if validation else [])}
    if len(counts) >= len(wanted):
        assert {SPLIT_NUMBER[name] for name in wanted} == set(by_class.tolist())  # type: ignore[index]


def test_of_more_groups_than_are_looked_at_neighbours_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_GROUPS", 64)
    frame = visits(4000, 1000)
    split = {"by": ["patient"], "test": 0.2, "validation": 0.1}
    made = Made(written(tmp_path, frame), split)
    divided = frame.assign(split=frame["id"].map(made.where))
    assert (divided.groupby("patient")["split"].nunique() == 1).all()
    assert abs((divided["split"] == "test").sum() - 800) <= 4000 / 64
    assert made.line == f"split by patient: {frame['patient'].nunique()} groups: 4000 rows"


STEPS: dict[str, list[dict[str, Any]]] = {
    "a column is computed": [{"withColumn": {"name": "z", "expr": "x + 1"}}],
    "another is dropped": [{"drop": {"columns": ["clinic"]}}],
    "the groups are dropped": [{"drop": {"columns": ["patient"]}}],
    "the groups are renamed": [{"rename": {"columns": {"patient": "person"}}}],
    "the time is dropped": [{"drop": {"columns": ["when"]}}],
    "columns are chosen": [{"select": {"columns": ["y", "x", "id"]}}],
    "something is fitted": [{"scale": {"columns": ["x"]}}, {"drop": {"columns": ["patient"]}}],
    "duplicates are dropped": [
        {"select": {"columns": ["y", "x", "id"]}},
        {"dropDuplicates": {}},
        {"dropDuplicates": {"subset": ["id"]}},
    ],
}


@pytest.mark.parametrize(
    "split",
    [
        {"by": ["patient"], "seed": 2},
        {"by": ["clinic", "patient"], "stratify": True},
        {"time": "when"},
    ],
    ids=str,
)
def test_no_row_moves_when_a_step_is_added(split: dict[str, Any], tmp_path: Path) -> None:
    source = written(tmp_path, visits())
    expected = Made(source, split).where
    assert len(set(expected.values())) == 3
    for name, steps in STEPS.items():
        assert Made(source, split, *steps).where == expected, name


def test_the_order_of_rows_and_of_columns_is_of_no_account(tmp_path: Path) -> None:
    frame = visits()
    one = Made(written(tmp_path, frame), {"by": ["patient", "clinic"]}).where
    shuffled = frame.sample(frac=1, random_state=0)[frame.columns[::-1]]
    other = Made(written(tmp_path, shuffled, "other.csv"), {"by": ["clinic", "patient"]}).where
    assert one == other
    assert Made(tmp_path / "data.csv", {"by": ["patient", "clinic"], "seed": 1}).where != one


def test_groups_that_a_step_makes(tmp_path: Path) -> None:
    """By what the column is where rows are divided: texts that were made equal are one group."""
    frame = visits()
    frame["who"] = [f"{'P' if i % 2 else 'p'}{patient}" for i, patient in enumerate(frame.patient)]
    source = written(tmp_path, frame)
    made = Made(source, {"by": ["who"]}, {"withColumn": {"name": "who", "expr": "lower(who)"}})
    divided = frame.assign(split=frame["id"].map(made.where))
    assert (divided.groupby("patient")["split"].nunique() == 1).all()


def test_a_row_without_a_group_is_refused_with_their_number(tmp_path: Path) -> None:
    frame = visits().astype({"patient": "Int64"})
    frame.loc[[3, 5, 700], "patient"] = pd.NA
    source = written(tmp_path, frame)
    assert refused(source, {"by": ["clinic", "patient"]}) == (
        "SplitInvalid",
        "preprocess.split.by: patient is null in 3 of 1200 rows; fill it, or drop these rows "
        "before: `dropna: {subset: [patient]}`",
    )
    made = Made(source, {"by": ["patient"]}, {"dropna": {"subset": ["patient"]}})
    assert len(made.where) == 1197


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, visits())
    reason, message = refused(source, {"by": ["pateint"]})
    assert reason == "ColumnNotFound"
    assert "preprocess.split.by: there is no column pateint; did you mean patient?" in message
    reason, message = refused(
        source, {"by": ["patient"]}, {"sql": {"query": "select id, x, y from data"}}
    )
    assert reason == "ColumnNotFound"
    assert message.endswith("an sql step made new rows without it; select it there")


def test_groups_that_are_too_large_are_told(tmp_path: Path) -> None:
    frame = visits()
    frame["patient"] = np.where(np.arange(len(frame)) < 900, -1, frame["patient"])
    source = written(tmp_path, frame)
    made = Made(source, {"by": ["patient"], "test": 0.2, "validation": 0.0})
    # The large one is for training, and the others make the share.
    assert -1 in set(made.tables["train"]["patient"])
    assert abs(len(made.tables["test"]) - 240) <= 20
    assert not made.reasons("SplitUneven")
    made = Made(source, {"by": ["patient"], "test": 0.5, "validation": 0.0})
    assert len(made.tables["test"]) == 300
    ((_, message),) = [one for one in made.warnings if one[0] == "SplitUneven"]
    assert message.startswith(
        "25% of the rows are in the test split, not 50%: groups stay together"
    )
    reason, message = refused(source, {"by": ["clinic"], "test": 0.2})
    assert reason == "SplitEmpty"
    assert message.startswith(
        "preprocess.split.by: 2 groups of equal clinic, too few for the splits"
    )
    made = Made(source, {"by": ["clinic"], "test": 0.2, "validation": 0})
    assert set(made.tables["test"]["clinic"]).isdisjoint(made.tables["train"]["clinic"])


def test_what_names_the_groups_is_told_where_it_is_a_feature(tmp_path: Path) -> None:
    source = written(tmp_path, visits()[["patient", "x", "y"]])
    made = Made(source, {"by": ["patient"]})
    assert [m for r, m in made.warnings if r == "IdLikeFeature" and "divided by it" in m]
    made = Made(source, {"by": ["patient"]}, {"drop": {"columns": ["patient"]}})
    assert not made.reasons("IdLikeFeature")


def test_a_class_stays_where_its_groups_are(tmp_path: Path) -> None:
    frame = visits()
    frame.loc[frame["patient"] == 7, "y"] = "rare"
    source = written(tmp_path, frame)
    made = Made(source, {"by": ["patient"]})
    (message,) = [message for reason, message in made.warnings if reason == "ClassRare"]
    assert "split has no row of class rare" in message
    assert sum("rare" in set(table["y"]) for table in made.tables.values()) == 1
    reason, message = refused(source, {"by": ["patient"], "rare": "fail"})
    assert (reason, "class rare" in message) == ("ClassMissing", True)
    made = Made(source, {"by": ["patient"], "rare": "drop"})
    assert not any("rare" in set(table["y"]) for table in made.tables.values())
