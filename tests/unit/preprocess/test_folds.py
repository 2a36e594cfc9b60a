"""Folds on engine pandas, against scikit-learn's. The other engine makes the same ones:
tests/local/preprocess/test_own_splits.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.local.preprocess.both import payload
from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import SPLITS, DatasetManifest
from trainingjob.runtime.preprocess.engines.frame import FIRST_FOLD, TRAIN
from trainingjob.runtime.preprocess.folds import dealt
from trainingjob.runtime.preprocess.groups import folded

CLASSES = {"type": "classification", "label": "y"}


class Made:
    """What a run made: tables by split, for the whole and for each fold."""

    def __init__(self, source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> None:
        folder = Path(f"{source}-made")
        more = {"task": CLASSES} | more
        self.outputs = preprocess.run(
            payload("pandas", source, folder, steps, split=split, **more)
        ).outputs
        self.manifest = DatasetManifest.read(folder)
        self.whole = tables(folder)
        self.folds = [tables(folder / part) for part in self.manifest.parts]
        self.of_fold = [DatasetManifest.read(folder / part) for part in self.manifest.parts]
        self.warnings = [(w.reason, w.message) for w in self.outputs.warnings or ()]

    @property
    def held_out(self) -> list[set[int]]:
        """The ids in each fold."""
        return [ids(fold["test"]) for fold in self.folds]


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    def read(name: str) -> pd.DataFrame:
        parts = [pd.read_parquet(path) for path in sorted((folder / name).glob("*"))]
        return pd.concat(parts) if parts else pd.DataFrame({"id": []})

    return {name: read(name) for name in SPLITS}


def ids(table: pd.DataFrame) -> set[int]:
    assert table["id"].is_unique
    return set(table["id"])


def refused(source: Path, split: dict[str, Any], *steps: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(StageFailure) as caught:
        Made(source, split, *steps, **more)
    assert not Path(f"{source}-made").exists()
    return caught.value.reason, caught.value.message


def people(rows: int = 503, patients: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "id": range(rows),
            "patient": rng.choice(patients, rows, p=rng.dirichlet(np.ones(patients) * 2)),
            "city": rng.choice(["Bonn", "Ulm", "Jena"], rows, p=[0.6, 0.39, 0.01]),
            "x": rng.normal(3, 2, rows).round(3),
            "y": rng.choice(["ill", "so-so", "well"], rows, p=[0.2, 0.3, 0.5]),
        }
    )


def written(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "data.csv"
    frame.to_csv(path, index=False)
    return path


# --- which rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{}, {"test": 0.2, "validation": 0.1}, {"stratify": True}, {"by": ["patient"], "test": 0.2}],
    ids=str,
)
def test_every_row_is_held_out_once_and_learned_from_in_all_other_folds(
    more: dict[str, Any], tmp_path: Path
) -> None:
    frame = people()
    made = Made(written(tmp_path, frame), {"folds": 5, "seed": 3} | more)
    test, validation, train = (ids(made.whole[name]) for name in ("test", "validation", "train"))
    assert test | validation | train == set(frame["id"])
    assert len(test) + len(validation) + len(train) == len(frame)
    assert sum(map(len, made.held_out)) == len(train)
    assert set().union(*made.held_out) == train
    assert made.outputs.folds == [len(fold) for fold in made.held_out]
    for fold, held_out in zip(made.folds, made.held_out, strict=True):
        assert ids(fold["train"]) == train - held_out
        assert ids(fold["validation"]) == validation
    if "by" not in more:
        assert sorted(map(len, made.held_out)) == sorted(
            len(fold) for _, fold in KFold(5).split(list(train))
        )


def test_folds_take_no_row_from_the_test_split(tmp_path: Path) -> None:
    """Nor does their number: a model is judged on the same rows, however many folds there are."""
    source = written(tmp_path, people())
    shares = {"test": 0.2, "validation": 0.1, "stratify": True}
    plain, two, five = (
        Made(source, shares | more).whole for more in ({}, {"folds": 2}, {"folds": 5})
    )
    for name in SPLITS:
        pd.testing.assert_frame_equal(plain[name], two[name])
        pd.testing.assert_frame_equal(plain[name], five[name])


def test_without_a_test_split_all_rows_are_in_folds(tmp_path: Path) -> None:
    made = Made(written(tmp_path, people()), {"folds": 3})
    assert made.outputs.rows == {"train": 503, "validation": 0, "test": 0}
    assert made.outputs.folds == [168, 168, 167]
    assert made.outputs.account == [
        "input: 503 rows; + id, patient, city, x, y",
        "split into 3 folds: 503 rows",
    ]


def test_a_row_stays_in_its_fold_when_steps_change_and_moves_with_the_seed(tmp_path: Path) -> None:
    frame = people()
    source = written(tmp_path, frame)
    more = [{"withColumn": {"name": "x2", "expr": "x * x"}}, {"drop": {"columns": ["city"]}}]
    one = Made(source, {"folds": 4}).held_out
    assert Made(source, {"folds": 4}, *more).held_out == one
    assert Made(source, {"folds": 4, "seed": 1}).held_out != one
    shuffled = written(tmp_path, frame.sample(frac=1, random_state=1))
    assert Made(shuffled, {"folds": 4}).held_out == one


@pytest.mark.parametrize("folds", [2, 7, 20])
def test_stratified_each_fold_has_as_many_of_each_class_as_scikit_learns(
    folds: int, tmp_path: Path
) -> None:
    frame = people()
    made = Made(written(tmp_path, frame), {"folds": folds, "stratify": True})
    # Theirs begins with the class that comes first.
    ordered = frame.sort_values("y")
    theirs = StratifiedKFold(folds).split(ordered, ordered["y"])
    expected = [ordered.iloc[test]["y"].value_counts().to_dict() for _, test in theirs]
    assert [fold["test"]["y"].value_counts().to_dict() for fold in made.folds] == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(2, 20))
def test_rows_are_dealt_out_as_scikit_learn_does(rows: list[int], folds: int) -> None:
    """StratifiedKFold's own allocation, by its definition: every so-manyth of the sorted rows."""
    y = np.repeat(np.arange(len(rows)), rows)
    expected = [np.bincount(y[fold::folds], minlength=len(rows)).tolist() for fold in range(folds)]
    found = dealt(dict(enumerate(rows)), folds)
    assert [[found[c][fold] for c in range(len(rows))] for fold in range(folds)] == expected


@pytest.mark.parametrize("stratify", [False, True])
def test_no_group_is_in_two_folds_and_they_are_as_even_as_those_of_scikit_learn(
    stratify: bool, tmp_path: Path
) -> None:
    frame = people()
    made = Made(
        written(tmp_path, frame), {"folds": 5, "by": ["patient"], "stratify": stratify, "seed": 2}
    )
    where = {i: fold for fold, held in enumerate(made.held_out) for i in held}
    assert (frame.groupby("patient")["id"].apply(lambda s: s.map(where).nunique()) == 1).all()

    def unevenness(folds: list[pd.DataFrame]) -> float:
        counts = pd.DataFrame([fold["y"].value_counts() for fold in folds]).fillna(0)
        of = counts if stratify else counts.sum(axis=1).to_frame()
        return float(((of / of.sum() - 1 / 5) ** 2).to_numpy().sum())

    theirs = (StratifiedGroupKFold if stratify else GroupKFold)(5)
    split = theirs.split(frame, frame["y"], frame["patient"])
    expected = unevenness([frame.iloc[test] for _, test in split])
    assert unevenness([fold["test"] for fold in made.folds]) <= expected + 1e-4
    (line,) = [line for line in made.outputs.account or () if line.startswith("split ")]
    assert line == "split by patient: 40 groups, 0 of them test, 0 validation, in 5 folds: 503 rows"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=2, max_size=30),
    st.integers(2, 20),
    st.booleans(),
)
def test_every_fold_has_a_group_and_none_is_larger_than_it_must_be(
    sizes: list[list[int]], folds: int, stratify: bool
) -> None:
    counts = np.array([[one, max(other, 1)] for one, other in sizes])
    counts = counts if stratify else counts.sum(axis=1, keepdims=True)
    folds = min(folds, len(counts))
    taken = folded(counts, np.full(len(counts), TRAIN), folds) - FIRST_FOLD
    assert set(taken) == set(range(folds))
    rows = np.bincount(taken, counts.sum(axis=1))
    if not stratify:
        # Of largest-first: any two folds differ by the largest group at most.
        assert rows.max() - rows.min() <= counts.max()


# --- what is learned ---------------------------------------------------------------------------


def test_steps_learn_from_the_training_rows_of_each_fold_as_a_pipeline_does(
    tmp_path: Path,
) -> None:
    frame = people()
    steps = [
        {"withColumn": {"name": "x2", "expr": "x * 2"}},
        {"scale": {"columns": ["x"]}},
        {"oneHot": {"columns": ["city"]}},
    ]
    made = Made(written(tmp_path, frame), {"folds": 5, "test": 0.2}, *steps)
    by_id = frame.set_index("id")
    for part, manifest in zip(
        [*made.folds, made.whole], [*made.of_fold, made.manifest], strict=True
    ):
        train = by_id.loc[part["train"]["id"]]
        scaler = StandardScaler().fit(train[["x"]])
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[["city"]])
        for name in ("train", "test"):
            raw = by_id.loc[part[name]["id"]]
            scaled = scaler.transform(raw[["x"]])[:, 0]
            np.testing.assert_allclose(part[name]["x"], scaled, rtol=1e-9, atol=1e-12)
            names = [f"city_{c}" for c in encoder.categories_[0]]
            assert [c for c in part[name].columns if c.startswith("city")] == names
            np.testing.assert_array_equal(part[name][names], encoder.transform(raw[["city"]]))
            np.testing.assert_allclose(part[name]["x2"], raw["x"] * 2)
        fitted = manifest.pipeline[1]["fitted"]["columns"]["x"]
        assert fitted["offset"] == pytest.approx(train["x"].mean(), rel=1e-9)
        assert [one["step"] for one in manifest.pipeline] == [
            one["step"] for one in made.manifest.pipeline
        ]
    offsets = {m.pipeline[1]["fitted"]["columns"]["x"]["offset"] for m in made.of_fold}
    assert len(offsets) == 5


def test_a_dataset_that_lacks_a_fold_or_has_that_of_another_is_none(tmp_path: Path) -> None:
    source = written(tmp_path, people())
    Made(source, {"folds": 2})
    folder = Path(f"{source}-made")
    (part, *_) = DatasetManifest.read(folder).parts
    manifest = folder / part / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"label": "y"', '"label": "x"'))
    with pytest.raises(StageFailure, match=rf"{part} is of another dataset"):
        DatasetManifest.read(folder)
    manifest.unlink()
    with pytest.raises(StageFailure, match="there is no dataset at"):
        DatasetManifest.read(folder)


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "split", "steps", "reason", "words"),
    [
        (
            people(3),
            {"folds": 5},
            [],
            "SplitEmpty",
            "preprocess.split.folds: 3 rows for 5 folds; set it to 3 at most",
        ),
        (
            people(10),
            {"folds": 9, "test": 0.3},
            [],
            "SplitEmpty",
            "preprocess.split.folds: 7 rows for 9 folds; set it to 7 at most",
        ),
        (
            people(100).assign(patient=lambda f: f["id"] % 3),
            {"folds": 4, "by": ["patient"]},
            [],
            "SplitEmpty",
            "preprocess.split.folds: 3 groups of equal patient are too few for 4 folds; set it to "
            "3 at most",
        ),
        (
            people(100).assign(y=lambda f: f["id"] // 2),
            {"folds": 3, "stratify": True},
            [],
            "ClassMissing",
            "fold 1 has only rows of classes that are too rare to be in every split: 0, 1, 3, 4, "
            "6, … (34 in all)",
        ),
        (
            people(100).assign(y=lambda f: np.where(f["id"] < 1, "once", "else")),
            {"folds": 3, "rare": "fail"},
            [],
            "ClassMissing",
            "has no row of class once",
        ),
        (
            people(60).assign(x=lambda f: np.where(f["id"] < 20, f["id"], np.nan)),
            {"folds": 20},
            [{"fillna": {"strategy": "mean", "columns": ["id"]}}, {"dropna": {"subset": ["x"]}}],
            "SplitEmpty",
            "the test split has no rows",
        ),
    ],
    ids=["rows", "rows beside a test", "groups", "classes", "a rare class", "a step drops a fold"],
)
def test_what_cannot_be_folded_is_refused_in_words(
    frame: pd.DataFrame,
    split: dict[str, Any],
    steps: list[Any],
    reason: str,
    words: str,
    tmp_path: Path,
) -> None:
    found, message = refused(written(tmp_path, frame), split, *steps)
    assert found == reason
    assert words in message
    if steps:
        assert message.startswith("fold ")


def test_a_class_too_rare_for_every_fold_is_learned_from_in_all_of_them(tmp_path: Path) -> None:
    """And is in no fold that is judged, so that every metric has a value."""
    frame = people(200).assign(y=lambda f: np.where(f["id"] < 3, "rare", f["y"]))
    source = written(tmp_path, frame)
    made = Made(source, {"folds": 5})
    assert sum(made.outputs.folds or ()) == 197
    for fold, manifest in zip(made.folds, made.of_fold, strict=True):
        assert (fold["train"]["y"] == "rare").sum() == 3
        assert "rare" not in set(fold["test"]["y"])
        assert manifest.classes == made.manifest.classes
    assert [message for reason, message in made.warnings if reason == "ClassRare"] == [
        "each fold: class rare is too rare to be in every split: 3 rows were kept in the training "
        "split (preprocess.split.rare)"
    ]
    dropped = Made(source, {"folds": 5, "rare": "drop"})
    assert dropped.manifest.classes == ["ill", "so-so", "well"]
    assert sum(dropped.outputs.folds or ()) == 197


def test_a_fold_without_a_common_class_by_chance_is_stratified(tmp_path: Path) -> None:
    frame = people(60).assign(y=lambda f: np.where(f["id"] < 8, "few", "many"))
    made = Made(written(tmp_path, frame), {"folds": 8})
    assert "SplitStratified" in [reason for reason, _ in made.warnings]
    assert all((fold["test"]["y"] == "few").sum() == 1 for fold in made.folds)


def test_a_group_that_is_most_of_the_rows_is_warned_of(tmp_path: Path) -> None:
    frame = people(100).assign(patient=lambda f: np.where(f["id"] < 60, 0, f["id"] % 20))
    made = Made(written(tmp_path, frame), {"folds": 4, "by": ["patient"]})
    (message,) = [message for reason, message in made.warnings if reason == "SplitUneven"]
    assert "62% of the rows are in fold 1, not 25%; 14% of the rows are in fold 2" in message


@pytest.mark.parametrize(
    ("cities", "words"),
    [
        ("f['id'] // 5", "each fold: step 1 (oneHot): city: 25 of 25 values"),
        (
            "(f['id'] - 90).clip(0)",
            "fold 1, and 3 others (see the log): step 1 (oneHot): city: 91 of 91 values",
        ),
    ],
    ids=["alike in all", "not alike"],
)
def test_what_folds_warn_of_is_told_once(cities: str, words: str, tmp_path: Path) -> None:
    """Of categories, say, that its training rows do not have; the log has it of every fold."""
    frame = people(100).assign(city=lambda f: "c" + eval(cities).astype(str))
    split = {"folds": 4, "by": ["city"]}
    made = Made(written(tmp_path, frame), split, {"oneHot": {"columns": ["city"]}})
    (message,) = [message for reason, message in made.warnings if reason == "CategoriesUnseen"]
    assert message.startswith(words)
