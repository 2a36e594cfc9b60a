"""The split is as good as scikit-learn's, whatever the rows are, and stays where it is."""

from __future__ import annotations

import collections
import functools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from trainingjob.runtime import preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import SPLITS

from .both import payload, same

SEEDS = range(10)
NIGHTLY = pytest.mark.nightly
CLASSES = {"type": "classification", "label": "y"}


@pytest.fixture(params=["pandas", "spark"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine; Spark's session is started only for it."""
    if request.param == "spark":
        request.getfixturevalue("spark")
    yield request.param


class Made:
    """What a run made: tables by split, and its outputs."""

    def __init__(self, engine: str, source: Path, output: Path, *args: Any, **kwargs: Any) -> None:
        self.outputs = preprocess.run(payload(engine, source, output, *args, **kwargs)).outputs
        parts = {split: sorted((output / split).glob("*.parquet")) for split in SPLITS}
        self.tables = {
            split: pd.concat([pd.read_parquet(path) for path in paths]) if paths else pd.DataFrame()
            for split, paths in parts.items()
        }

    def ids(self, split: str = "test", column: str = "id") -> set[int]:
        return set(self.tables[split][column])

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Those about the split."""
        found = [(warning.reason, warning.message) for warning in self.outputs.warnings or ()]
        return [one for one in found if one[0] in ("ClassRare", "SplitStratified")]


def csv(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def repeated(rows: int = 1200) -> pd.DataFrame:
    """Some profiles, whose label is by chance."""
    rng = np.random.default_rng(0)
    profiles = [(a, b, c) for a in "xyz" for b in ("m", "w") for c in (10, 20, 30)]
    rate = rng.uniform(0.05, 0.95, len(profiles))
    which = rng.choice(len(profiles), rows, p=rng.dirichlet(np.ones(len(profiles)) * 0.7))
    frame = pd.DataFrame([profiles[i] for i in which], columns=["kind", "sex", "size"])
    return frame.assign(y=(rng.random(rows) < rate[which]).astype(int))


def passengers() -> pd.DataFrame:
    """Few categories, some numbers, and an id that makes every row different."""
    rng = np.random.default_rng(1)
    rows = 1300
    sex = rng.choice(["male", "female"], rows, p=[0.65, 0.35])
    rank = rng.choice([1, 2, 3], rows, p=[0.25, 0.21, 0.54])
    age = rng.choice(["child", "adult"], rows, p=[0.1, 0.9])
    logit = 2.5 * (sex == "female") - 0.9 * (rank - 2) + 1.0 * (age == "child") - 1
    survived = rng.random(rows) < 1 / (1 + np.exp(-logit))
    return pd.DataFrame(
        {
            "name": [f"passenger {i}" for i in range(rows)],
            "sex": sex,
            "rank": rank,
            "age": age,
            "y": survived.astype(int),
        }
    )


def rounded() -> pd.DataFrame:
    """Numbers of one digit, so that many rows are equal."""
    rng = np.random.default_rng(2)
    rows = 1500
    x = rng.normal(size=(rows, 2))
    y = rng.random(rows) < 1 / (1 + np.exp(-1.5 * x[:, 0] + x[:, 1]))
    return pd.DataFrame(x.round(0), columns=["a", "b"]).assign(y=y.astype(int))


DATA = {
    "repeated rows": (repeated, []),
    "rows equal but for a name, which is dropped": (
        passengers,
        [{"drop": {"columns": ["name"]}}],
    ),
    "rounded numbers": (rounded, []),
}


def scores(train: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    """Accuracy and area under the curve of a logistic regression."""
    features = pd.get_dummies(pd.concat([train, test]).drop(columns=["y", "name"], errors="ignore"))
    model = LogisticRegression(max_iter=1000).fit(features[: len(train)], train["y"])
    inputs = features[len(train) :]
    area = roc_auc_score(test["y"], model.predict_proba(inputs)[:, 1])
    return model.score(inputs, test["y"]), area


@functools.cache
def scikit_learn(name: str) -> list[tuple[float, float]]:
    """The scores on its own splits."""
    frame = DATA[name][0]()
    return [
        scores(*train_test_split(frame, test_size=0.2, stratify=frame["y"], random_state=seed))
        for seed in range(50)
    ]


# Both engines make the same splits: a few of the slower one say that here, too.
FEW_ON_SPARK = {"pandas": SEEDS, "spark": SEEDS[:2]}


@pytest.mark.parametrize("name", DATA)
def test_a_model_does_on_our_splits_as_on_those_of_scikit_learn(
    name: str, engine: str, tmp_path: Path
) -> None:
    does_as_on_those_of_scikit_learn(name, engine, FEW_ON_SPARK[engine], tmp_path)


@NIGHTLY
@pytest.mark.parametrize("name", DATA)
def test_a_model_does_so_on_every_split_of_spark(name: str, spark: Any, tmp_path: Path) -> None:
    does_as_on_those_of_scikit_learn(name, "spark", SEEDS, tmp_path)


def does_as_on_those_of_scikit_learn(
    name: str, engine: str, seeds: Sequence[int], tmp_path: Path
) -> None:
    make, steps = DATA[name]
    source = csv(tmp_path / "data.csv", make())
    theirs = scikit_learn(name)
    ours = []
    for seed in seeds:
        split = {"test": 0.2, "validation": 0.0, "seed": seed, "stratify": True}
        made = Made(engine, source, tmp_path / str(seed), steps, task=CLASSES, split=split)
        ours.append(scores(made.tables["train"], made.tables["test"]))
    for one, other in zip(np.transpose(ours), np.transpose(theirs), strict=True):
        spread = other.std()
        assert abs(one.mean() - other.mean()) < 4 * spread / np.sqrt(len(seeds))
        assert other.min() - spread < one.min() and one.max() < other.max() + spread


STABLE: dict[str, list[dict[str, Any]]] = {
    "a column is computed": [{"withColumn": {"name": "z", "expr": "a + b"}}],
    "a column is replaced": [{"withColumn": {"name": "a", "expr": "a * 2"}}],
    "a column is renamed": [{"rename": {"columns": {"a": "left"}}}],
    "a column is dropped": [{"drop": {"columns": ["a"]}}],
    "columns are chosen": [{"select": {"columns": ["y", "b", "id"]}}],
    "a column is cast": [{"cast": {"columns": {"a": "string"}}}],
    "nulls are filled": [{"fillna": {"value": 0}}],
    "no row is dropped": [{"dropna": {}}, {"dropDuplicates": {}}, {"filter": {"where": "id >= 0"}}],
    "a column is scaled": [{"scale": {"columns": ["a"]}}],
    "everything at once": [
        {"withColumn": {"name": "z", "expr": "a + b"}},
        {"encodeLabels": {"columns": ["kind"]}},
        {"drop": {"columns": ["a"]}},
    ],
}


def numbered(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "id": range(rows),
            "a": rng.normal(size=rows).round(1),
            "b": rng.integers(0, 5, rows),
            "kind": rng.choice(["red", "green"], rows),
            "y": rng.choice(["no", "yes"], rows, p=[0.8, 0.2]),
        }
    )


SOME_ON_SPARK = {
    "pandas": list(STABLE),
    "spark": ["columns are chosen", "no row is dropped", "everything at once"],
}


@pytest.mark.parametrize("stratify", [False, True])
def test_no_row_moves_when_a_step_is_added(stratify: bool, engine: str, tmp_path: Path) -> None:
    no_row_moves(engine, stratify, SOME_ON_SPARK[engine], tmp_path)


@NIGHTLY
@pytest.mark.parametrize("stratify", [False, True])
def test_no_row_moves_whatever_the_step_is_on_spark(
    stratify: bool, spark: Any, tmp_path: Path
) -> None:
    no_row_moves("spark", stratify, list(STABLE), tmp_path)


def no_row_moves(engine: str, stratify: bool, steps: Collection[str], tmp_path: Path) -> None:
    source = csv(tmp_path / "data.csv", numbered())
    split = {"test": 0.2, "validation": 0.1, "seed": 4, "stratify": stratify}
    made = {
        name: Made(engine, source, tmp_path / name, STABLE.get(name, []), task=CLASSES, split=split)
        for name in ("nothing", *steps)
    }
    assert len(made["nothing"].ids()) == 100
    for name, other in made.items():
        for part in SPLITS:
            assert other.ids(part) == made["nothing"].ids(part), (name, part)


def test_copies_lie_apart_also_when_they_become_equal_by_a_step(tmp_path: Path) -> None:
    frame = repeated(5000)
    frame["id"] = range(len(frame))
    source = csv(tmp_path / "data.csv", frame)
    for name, steps in {"copies": [{"drop": {"columns": ["id"]}}], "no copies": []}.items():
        for stratify in (False, True):
            split = {"test": 0.2, "validation": 0.1, "stratify": stratify}
            folder = tmp_path / f"{name}{stratify}"
            made = Made("pandas", source, folder, steps, task=CLASSES, split=split)
            profile = ["kind", "sex", "size", "y"]
            held_out = collections.Counter(made.tables["test"][profile].itertuples(index=False))
            for key, rows in frame.groupby(profile).size().items():
                spread = np.sqrt(rows * 0.2 * 0.8)
                assert abs(held_out[key] - 0.2 * rows) < 5 * spread + 1, key


@pytest.mark.parametrize("where", ["on all columns", "on some columns"])
def test_what_dropping_duplicates_leaves_is_divided_fairly(
    where: str, engine: str, tmp_path: Path
) -> None:
    """The kept one of a hundred copies is no more likely to be tested than a row without copies."""
    common = pd.DataFrame({"id": range(400), "y": [0, 1] * 200})
    frame = pd.concat([common.assign(x=i) for i in range(100)])
    frame = pd.concat([frame, pd.DataFrame({"id": range(400, 800), "y": [0, 1] * 200, "x": 0})])
    source = csv(tmp_path / "data.csv", frame)
    steps: list[dict[str, Any]] = [{"dropDuplicates": {"subset": ["id"]}}]
    if where == "on all columns":
        steps = [{"drop": {"columns": ["x"]}}, {"dropDuplicates": {}}]
    split = {"test": 0.25, "validation": 0.25}
    made = Made(engine, source, tmp_path / "out", steps, task=CLASSES, split=split)
    assert {name: len(table) for name, table in made.tables.items()} == {
        "train": 400,
        "validation": 200,
        "test": 200,
    }
    for name, table in made.tables.items():
        rows = len(table)
        expected = rows / 2
        spread = np.sqrt(rows * 0.25)
        assert abs((table["id"] < 400).sum() - expected) < 5 * spread, name


@pytest.mark.parametrize(
    "rows", [2, 5, 99, 12345, *(pytest.param(rows, marks=NIGHTLY) for rows in (1, 10, 1001))]
)
@pytest.mark.parametrize("what", ["all rows are equal", "all rows differ", "some rows are equal"])
def test_shares_are_exact(rows: int, what: str, spark: Any, tmp_path: Path) -> None:
    values = {"all rows are equal": 1, "all rows differ": rows, "some rows are equal": 7}[what]
    x = np.arange(rows) % values
    source = csv(tmp_path / "data.csv", pd.DataFrame({"x": x, "y": x % 2 + (x == 0) * 0.5}))
    found = same(source, tmp_path, split={"test": 0.3, "validation": 0.1})
    if isinstance(found[0], str):
        assert found[0] == ("SplitEmpty" if rows < 5 else "LabelConstant")
        return
    counts = {name: info.rows for name, info in found[0].splits.items()}
    test, validation = int(rows * 0.3 + 0.5), int(rows * 0.1 + 0.5)
    assert counts == {"test": test, "validation": validation, "train": rows - test - validation}


def test_shares_are_exact_in_each_class(spark: Any, tmp_path: Path) -> None:
    sizes = {"a": 1000, "b": 333, "c": 57, "d": 10}
    labels = [name for name, size in sizes.items() for _ in range(size)]
    frame = pd.DataFrame({"x": np.arange(len(labels)) % 3, "y": labels})
    split = {"test": 0.2, "validation": 0.1, "stratify": True}
    source = csv(tmp_path / "data.csv", frame)
    same(source, tmp_path, task=CLASSES, split=split)
    made = Made("pandas", source, tmp_path / "again", task=CLASSES, split=split)
    for name, share in (("test", 0.2), ("validation", 0.1)):
        counts = made.tables[name]["y"].value_counts().to_dict()
        assert counts == {label: int(size * share + 0.5) for label, size in sizes.items()}


def test_more_rows_than_the_driver_looks_at_are_divided_alike(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainingjob.runtime.preprocess.engines import spark

    source = csv(tmp_path / "data.csv", repeated())
    monkeypatch.setattr(spark, "_COLLECTED", 100)
    same(source, tmp_path, task=CLASSES, split={"test": 0.2, "validation": 0.1})


@pytest.mark.parametrize("stratify", [False, True])
def test_the_order_of_rows_and_files_is_of_no_account(
    stratify: bool, engine: str, tmp_path: Path
) -> None:
    frame = repeated()
    split = {"test": 0.2, "validation": 0.1, "stratify": stratify}
    one = Made(
        engine, csv(tmp_path / "data.csv", frame), tmp_path / "one", task=CLASSES, split=split
    )
    shuffled = frame.sample(frac=1, random_state=0)
    (tmp_path / "parts").mkdir()
    for number, begin in enumerate((0, 100, 101, 900)):
        end = (100, 101, 900, 1200)[number]
        csv(tmp_path / "parts" / f"{9 - number}.csv", shuffled[begin:end])
    other = Made(engine, tmp_path / "parts", tmp_path / "other", task=CLASSES, split=split)
    for name in SPLITS:
        pd.testing.assert_frame_equal(one.tables[name], other.tables[name])


def with_rare(**classes: int) -> pd.DataFrame:
    labels = [name for name, size in classes.items() for _ in range(size)]
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=len(labels)).round(2), "y": labels})


RARE = {"common": 200, "mid": 40, "once": 1, "twice": 2}


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("rule", [None, "keepInTrain", "drop", "fail"])
def test_a_class_too_rare_for_the_splits_follows_the_rule(
    rule: str | None, stratify: bool, engine: str, tmp_path: Path
) -> None:
    source = csv(tmp_path / "data.csv", with_rare(**RARE))
    split = {"test": 0.2, "validation": 0.1, "stratify": stratify, "rare": rule}
    # A label that was encoded is another one, but no less settled.
    steps = [{"encodeLabels": {"columns": ["y"]}}]
    for chosen in ([], steps):
        run = (engine, source, tmp_path / f"out{len(chosen)}", chosen)
        if rule == "fail":
            with pytest.raises(StageFailure) as caught:
                Made(*run, task=CLASSES, split=split)
            assert caught.value.reason == "ClassMissing"
            assert "once" in caught.value.message and "twice" in caught.value.message
            continue
        made = Made(*run, task=CLASSES, split=split)
        ((reason, message),) = made.warnings
        shown = "2, 3" if chosen and rule != "drop" else "once, twice"
        done = "dropped" if rule == "drop" else "kept in the training split"
        assert reason == "ClassRare"
        assert message == (
            f"classes {shown} are too rare to be in every split: 3 rows were "
            f"{done} (preprocess.split.rare)"
        )
        names = {0: "common", 1: "mid", 2: "once", 3: "twice"}
        rare = ("once", "twice")
        counts = {
            part: made.tables[part]["y"].replace(names).value_counts().to_dict() for part in SPLITS
        }
        assert not {value for part in ("test", "validation") for value in counts[part]} & {*rare}
        kept = {} if rule == "drop" else {"once": 1, "twice": 2}
        assert {name: counts["train"].get(name) for name in kept} == kept
        assert made.outputs.classes == 2 + len(kept)
        total = sum(sum(one.values()) for one in counts.values())
        assert total == 240 + sum(kept.values())


def test_a_class_that_a_later_step_makes_rare_follows_the_rule_too(
    engine: str, tmp_path: Path
) -> None:
    frame = with_rare(a=100, b=100, c=30)
    frame["a"] = range(len(frame))
    source = csv(tmp_path / "data.csv", frame)
    split = {"test": 0.2, "validation": 0.1, "stratify": True}
    fitted = {"fillna": {"strategy": "mean", "columns": ["a"]}}
    steps = [fitted, {"filter": {"where": "y <> 'c' or a >= 227"}}]
    made = Made(engine, source, tmp_path / "kept", steps, task=CLASSES, split=split)
    ((_, message),) = made.warnings
    assert message.startswith("class c is too rare to be in every split: ")
    assert len(made.tables["train"].query("y == 'c'")) == 3
    assert not len(pd.concat([made.tables["test"], made.tables["validation"]]).query("y == 'c'"))
    split["rare"] = "drop"
    made = Made(engine, source, tmp_path / "dropped", steps, task=CLASSES, split=split)
    assert made.outputs.classes == 2
    assert made.warnings[0][1].endswith("every split: 3 rows were dropped (preprocess.split.rare)")


def test_a_class_that_misses_a_split_by_chance_is_divided_by_itself(
    engine: str, tmp_path: Path
) -> None:
    source = csv(tmp_path / "data.csv", with_rare(**dict.fromkeys("abcdef", 10)))
    split = {"test": 0.2, "validation": 0.1}
    made = Made(engine, source, tmp_path / "out", task=CLASSES, split=split)
    for part, rows in (("test", 2), ("validation", 1), ("train", 7)):
        assert set(made.tables[part]["y"].value_counts()) == {rows}
    ((reason, message),) = made.warnings
    assert reason == "SplitStratified"
    assert "set it" in message


def test_a_split_that_would_lose_all_its_rows_is_refused(engine: str, tmp_path: Path) -> None:
    source = csv(tmp_path / "data.csv", with_rare(**{f"c{i:02}": 2 for i in range(20)}))
    with pytest.raises(StageFailure) as caught:
        Made(engine, source, tmp_path / "out", task=CLASSES, split={"test": 0.2, "validation": 0.1})
    assert caught.value.reason == "ClassMissing"
    assert "only rows of classes that are too rare" in caught.value.message


def test_stratified_by_a_quantity(engine: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(10_001), "y": range(10_001)})
    with pytest.raises(StageFailure) as caught:
        Made(
            engine,
            csv(tmp_path / "data.csv", frame),
            tmp_path / "out",
            task=CLASSES,
            split={"stratify": True},
        )
    assert caught.value.reason == "LabelInvalid"
    assert "more than 10000 different values" in caught.value.message


def test_status_says_how_alike_the_splits_are(engine: str, tmp_path: Path) -> None:
    frame = passengers()
    source = csv(tmp_path / "data.csv", frame)
    split = {"test": 0.2, "validation": 0.1, "seed": 2}
    for name, steps in {"unique": [], "equal": [{"drop": {"columns": ["name"]}}]}.items():
        made = Made(engine, source, tmp_path / name, steps, task=CLASSES, split=split)
        report = made.outputs.splits
        assert report is not None and report.classes is not None
        seen = made.tables["train"].drop_duplicates()
        common = made.tables["test"].merge(seen, on=list(seen.columns))
        assert report.duplicated_test_rows == len(common)
        assert bool(len(common)) == (name == "equal")
        assert [one.label for one in report.classes] == ["0", "1"]
        for one in report.classes:
            for part in SPLITS:
                share = (made.tables[part]["y"].astype(str) == one.label).mean()
                assert getattr(one, part) == pytest.approx(share, abs=1e-4)


def test_status_says_how_alike_the_splits_of_a_regression_are(engine: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": range(500), "y": rng.normal(5, 2, 500)})
    source = csv(tmp_path / "data.csv", frame)
    made = Made(engine, source, tmp_path / "out")
    report = made.outputs.splits
    assert report is not None and report.label is not None
    for one in report.label:
        labels = made.tables[one.split]["y"]
        assert one.mean == pytest.approx(labels.mean(), rel=1e-5)
        assert one.deviation == pytest.approx(labels.std(ddof=0), rel=1e-5)
    frame.loc[0, "y"] = 1e300
    csv(source, frame)
    extreme = Made(engine, source, tmp_path / "extreme").outputs.splits
    assert extreme is not None and len(extreme.label or ()) == 2


def test_many_classes_of_long_names_stay_within_the_report(tmp_path: Path) -> None:
    names = [chr(0x1F600 + i) * 500 for i in range(40)]
    frame = pd.DataFrame({"x": range(4001), "y": [*(names * 100), "🙂" * 600]})
    made = Made("pandas", csv(tmp_path / "data.csv", frame), tmp_path / "out", task=CLASSES)
    assert made.outputs.splits is not None and made.outputs.splits.classes is not None
    assert len(made.outputs.splits.classes) == 8
    assert len(made.outputs.to_dict()["splits"]["classes"][0]["label"]) == 32


def test_a_class_is_told_so_that_a_terminal_can_show_it(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(40), "y": ["\x1b[31mred", "two\nlines"] * 20})
    made = Made("pandas", csv(tmp_path / "data.csv", frame), tmp_path / "out", task=CLASSES)
    assert made.outputs.splits is not None and made.outputs.splits.classes is not None
    labels = [one.label for one in made.outputs.splits.classes]
    assert labels == ["\\x1b[31mred", "two\\nlines"]


def test_the_script_is_what_is_read(engine: str, tmp_path: Path) -> None:
    source = csv(tmp_path / "data.csv", numbered())
    split = {"test": 0.2, "validation": 0.1, "seed": 4}
    plain = Made(engine, source, tmp_path / "plain", task=CLASSES, split=split)
    script = {"inline": "def preprocess(frame, context):\n    return frame\n"}
    same_rows = Made(engine, source, tmp_path / "same", task=CLASSES, split=split, script=script)
    assert same_rows.ids() == plain.ids()


def test_a_query_makes_rows_of_their_own(spark: Any, tmp_path: Path) -> None:
    frame = repeated()
    source = csv(tmp_path / "data.csv", frame)
    query = "select kind, sex, y, count(*) as n from data group by kind, sex, y"
    steps = [{"sql": {"query": query}}, {"withColumn": {"name": "z", "expr": "n + 1"}}]
    split = {"test": 0.25, "validation": 0.25}
    without = same(source, tmp_path, steps[:1], split=split)
    (tmp_path / "more").mkdir()
    found = same(source, tmp_path / "more", steps, split=split)
    for name, table in without[1].items():
        assert found[1][name].drop_columns(["z"]) == table
