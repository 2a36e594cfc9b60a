"""Splits of one's own on engine pandas: groups, time, a column, files. The other engine makes the
same ones: tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from tests.local.preprocess.both import payload
from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import SPLITS
from trainingjob.runtime.preprocess import groups, times
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import HASH, SPLIT_NUMBER, Frame, Layout
from trainingjob.runtime.preprocess.groups import assigned
from trainingjob.runtime.preprocess.times import Times

CLASSES = {"type": "classification", "label": "y"}
HELD_OUT = ("test", "validation")


class Made:
    """What a run on engine pandas made: tables by split, warnings, and the line about the split."""

    def __init__(self, source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> None:
        output = Path(f"{source}-made")
        more = {"task": CLASSES} | more
        outputs = preprocess.run(
            payload("pandas", source, output, steps, split=split, **more)
        ).outputs
        self.tables = {
            name: pd.concat(
                [pd.read_parquet(p) for p in sorted((output / name).glob("*"))] or [pd.DataFrame()]
            )
            for name in SPLITS
        }
        self.warnings = [(w.reason, w.message) for w in outputs.warnings or ()]
        lines = [line for line in outputs.account or () if line.startswith("split ")]
        self.line = lines[0] if lines else ""

    @property
    def where(self) -> dict[int, str]:
        """The split of each id."""
        return {i: name for name, table in self.tables.items() if len(table) for i in table["id"]}

    def reasons(self, *of: str) -> list[str]:
        return [reason for reason, _ in self.warnings if reason in of]


def refused(source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(StageFailure) as caught:
        Made(source, split, *steps, **more)
    return caught.value.reason, caught.value.message


def written(folder: Path, frame: pd.DataFrame, name: str = "data.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return path


def visits(rows: int = 1200, patients: int = 90) -> pd.DataFrame:
    """Patients of different numbers of visits; what is wrong with them is the same each time."""
    rng = np.random.default_rng(5)
    patient = rng.choice(patients, rows, p=rng.dirichlet(np.ones(patients) * 2))
    ill = rng.random(patients) < 0.3
    return pd.DataFrame(
        {
            "id": range(rows),
            "patient": patient,
            "clinic": np.array(["north", "south"])[patient % 2],
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 200, rows), "D"),
            "x": rng.normal(size=rows).round(2),
            "y": np.where(ill[patient] & (rng.random(rows) < 0.9), "ill", "well"),
        }
    )


# --- groups ------------------------------------------------------------------------------------


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


# --- time --------------------------------------------------------------------------------------

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


# --- a column ----------------------------------------------------------------------------------


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


# --- files -------------------------------------------------------------------------------------


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
