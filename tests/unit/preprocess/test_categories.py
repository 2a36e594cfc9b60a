"""Steps for categories, texts and dates against pandas and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.model_selection import PredefinedSplit
from sklearn.preprocessing import TargetEncoder

from trainingjob.runtime.preprocess.engines.rowhash import hash_rows, place

from .features import CLASSES, failure, frame, prepared


def columns_of(part: pd.DataFrame, name: str) -> list[str]:
    return [column for column in part.columns if column.startswith(f"{name}_")]


def test_hashed_text_is_that_of_hashing_vectorizer(tmp_path: Path) -> None:
    data = frame()
    _, parts = prepared(data, [{"hashText": {"columns": ["review"], "features": 20}}], tmp_path)
    texts = data.set_index("id")["review"].fillna("")
    for part in parts.values():
        wanted = HashingVectorizer(n_features=20).transform(texts[part["id"]]).toarray()
        assert columns_of(part, "review") == [f"review_{place}" for place in range(20)]
        np.testing.assert_allclose(part[columns_of(part, "review")], wanted, atol=1e-12)


@pytest.mark.parametrize("features", [1, 7])
def test_hashed_categories_are_those_of_feature_hasher(features: int, tmp_path: Path) -> None:
    data = frame()
    step = {"hashEncode": {"columns": ["city", "code"], "features": features}}
    _, parts = prepared(data, [step], tmp_path)
    by_id = data.set_index("id")
    for part in parts.values():
        for name in ("city", "code"):
            values = by_id.loc[part["id"], name]
            given = [[] if pd.isna(value) else [str(value)] for value in values]
            wanted = FeatureHasher(features, input_type="string").transform(given).toarray()
            np.testing.assert_array_equal(part[columns_of(part, name)], wanted)


@pytest.mark.parametrize(
    "more", [{}, {"features": 5}, {"minRows": 40}, {"features": 3, "minRows": 40}], ids=str
)
def test_weighted_words_are_those_of_tfidf_vectorizer(more: dict[str, int], tmp_path: Path) -> None:
    data = frame()
    manifest, parts = prepared(data, [{"tfidf": {"columns": ["review"], **more}}], tmp_path)
    texts = data.set_index("id")["review"].fillna("")
    fitted = TfidfVectorizer(max_features=more.get("features"), min_df=more.get("minRows", 1))
    fitted.fit(texts[parts["train"]["id"]])
    words = list(fitted.get_feature_names_out())
    assert list(manifest.pipeline[0]["fitted"]["weights"]["review"]) == words
    for part in parts.values():
        assert columns_of(part, "review") == [f"review_{word}" for word in words]
        wanted = fitted.transform(texts[part["id"]]).toarray()
        np.testing.assert_allclose(part[columns_of(part, "review")], wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("column", "label", "smooth"),
    [
        ("city", "y", None),
        ("city", "n", 0.0),
        ("city", "yes", None),
        ("city", "kind", None),
        ("code", "y", 7.5),
        ("code", "n", None),
        ("code", "yes", 0.0),
        ("code", "kind", 7.5),
    ],
)
def test_target_means_are_those_of_target_encoder(
    column: str, label: str, smooth: float | None, tmp_path: Path
) -> None:
    data = frame()
    data["n"] = data["n"].fillna(3)
    task = {"type": "classification" if label in ("yes", "kind") else "regression", "label": label}
    step = {
        "targetEncode": {"columns": [column], "folds": 4}
        | ({} if smooth is None else {"smooth": smooth})
    }
    _, parts = prepared(data, [step], tmp_path, task=task)
    by_id = data.set_index("id")
    train = by_id.loc[parts["train"]["id"]]
    kind = {"y": "continuous", "n": "continuous", "yes": "binary", "kind": "multiclass"}[label]
    folds = folds_of(data, 4)[parts["train"]["id"]]
    encoder = TargetEncoder(
        target_type=kind, smooth="auto" if smooth is None else smooth, cv=PredefinedSplit(folds)
    )
    target = train[label] if kind != "continuous" else train[label].astype(float)
    own = encoder.fit_transform(given(train[column]), target)
    names = [column] if kind != "multiclass" else [f"{column}_{name}" for name in "abc"]
    np.testing.assert_allclose(parts["train"][names], own, rtol=1e-9)
    for split in ("validation", "test"):
        wanted = encoder.transform(given(by_id.loc[parts[split]["id"], column]))
        np.testing.assert_allclose(parts[split][names], wanted, rtol=1e-9)


def given(values: pd.Series) -> Any:
    return pd.DataFrame({"c": values.astype(object).where(values.notna(), None)})


def folds_of(data: pd.DataFrame, folds: int) -> pd.Series:
    """The folds of rows come from their place in the random order."""
    table = pa.Table.from_pandas(data, preserve_index=False)
    table = table.cast(
        pa.schema(
            [(f.name, pa.timestamp("us") if f.name == "when" else f.type) for f in table.schema]
        )
    )
    hashes = np.concatenate([hash_rows(batch) for batch in table.to_batches()])
    # Each occurs once, and the seed is 0.
    once = pa.array(np.zeros(len(hashes), dtype=np.int64))
    found = place(pa.array(hashes), once, once).to_numpy()
    return pd.Series(found % folds, index=data["id"])


def test_no_training_row_sees_its_own_label(tmp_path: Path) -> None:
    """A column that names the rows tells nothing of the label in training, as it will not later."""
    data = frame()
    data["unique"] = data["id"]
    _, parts = prepared(data, [{"targetEncode": {"columns": ["unique"]}}], tmp_path)
    assert parts["train"]["unique"].nunique() == 5
    assert parts["test"]["unique"].nunique() == 1


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"minCount": 20}, lambda counts: counts[counts >= 20]),
        ({"minShare": 0.1}, lambda counts: counts[counts / counts.sum() >= 0.1]),
        (
            {"keep": 3},
            lambda counts: counts.sort_index().sort_values(ascending=False, kind="stable")[:3],
        ),
    ],
    ids=["by count", "by share", "the most frequent"],
)
def test_rare_categories_become_one(fields: dict[str, Any], kept: Any, tmp_path: Path) -> None:
    data = frame()
    step = {"groupRare": {"columns": ["city"], "other": "elsewhere", **fields}}
    manifest, parts = prepared(data, [step], tmp_path)
    cities = data.set_index("id")["city"]
    stay = set(kept(cities[parts["train"]["id"]].value_counts()).index)
    assert manifest.pipeline[0]["fitted"] == {"kept": {"city": sorted(stay)}}
    for part in parts.values():
        values = cities[part["id"]]
        wanted = values.where(values.isin(stay) | values.isna(), "elsewhere")
        assert part["city"].tolist() == [None if pd.isna(v) else v for v in wanted]


def test_parts_of_dates_are_those_of_pandas(tmp_path: Path) -> None:
    data = frame()
    dates = [
        "year",
        "quarter",
        "month",
        "week",
        "day",
        "dayOfWeek",
        "dayOfYear",
        "isWeekend",
        "daysSince1970",
    ]
    times = ["hour", "minute", "second"]
    _, parts = prepared(
        data,
        [
            {"dateParts": {"columns": ["day"], "parts": dates}},
            {"dateParts": {"columns": ["when"], "parts": [*dates, *times]}},
        ],
        tmp_path,
    )
    by_id = data.set_index("id")
    for part in parts.values():
        for name, its in (("day", dates), ("when", dates + times)):
            values = pd.Series(pd.to_datetime(by_id.loc[part["id"], name]).array)
            known = values.dt
            wanted = {
                "week": known.isocalendar().week,
                "dayOfWeek": known.dayofweek,
                "dayOfYear": known.dayofyear,
                "isWeekend": (known.dayofweek >= 5).astype(int).where(values.notna()),
                "daysSince1970": (values - pd.Timestamp(0)) / pd.Timedelta(days=1),
            } | {plain: getattr(known, plain) for plain in its if hasattr(known, plain)}
            for one in its:
                np.testing.assert_allclose(
                    part[f"{name}_{one}"].to_numpy(float),
                    wanted[one].to_numpy(float, na_value=np.nan),
                    rtol=1e-12,
                    err_msg=one,
                )
            assert name not in part


def test_nulls_are_marked(tmp_path: Path) -> None:
    data = frame()
    manifest, parts = prepared(data, [{"missingIndicator": {}}], tmp_path)
    marked = [name for name in data if data[name].isna().any()]
    assert manifest.pipeline[0]["fitted"] == {"columns": marked}
    for part in parts.values():
        for name in marked:
            wanted = data.set_index("id").loc[part["id"], name].isna().astype(int)
            assert part[f"{name}_missing"].tolist() == wanted.tolist()


# What is wrong, with the words that it is told in.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"hashText": {"columns": ["x"]}}, "StepFailed: step 1 (hashText): column x is a double, not text; `cast: {columns: {x: string}}`"),
    "no such column": ({"tfidf": {"columns": ["reviews"]}}, "ColumnNotFound: step 1 (tfidf): there is no column reviews; did you mean review?"),
    "no words": ({"tfidf": {"columns": ["review"], "minRows": 1000}}, "StepFailed: step 1 (tfidf): column review has no words in the training split that 1000 rows have"),
    "too many columns": ({"hashText": {"columns": ["city", "review", "kind", "id", "text"], "features": 4096}}, "StepFailed: step 1 (hashText): 20480 columns would be made, more than 16384"),
    "the label itself": ({"targetEncode": {"columns": ["y"]}}, "StepFailed: step 1 (targetEncode): y is the label"),
    "a date has no hour": ({"dateParts": {"columns": ["day"], "parts": ["hour"]}}, "StepFailed: step 1 (dateParts): column day is a date: it has no hour"),
    "a text is no date": ({"dateParts": {"columns": ["city"], "parts": ["year"]}}, "StepFailed: step 1 (dateParts): column city is a string, not a date or a timestamp; read it as one"),
    "a number is no category": ({"groupRare": {"columns": ["code"], "keep": 3}}, "StepFailed: step 1 (groupRare): column code is a bigint, not text; `cast: {columns: {code: string}}`"),
    "a text is no number": ({"clip": {"columns": ["city"], "min": 0}}, "StepFailed: step 1 (clip): column city is a string, not a number; `parseNumber: {columns: [city]}`"),
    "no logarithm": ({"log1p": {"columns": ["n"]}}, "CastLosesValues: step 1 (log1p): n: "),
    "the name is taken": ({"missingIndicator": {"columns": ["taken"]}}, "DuplicateColumns: step 1 (missingIndicator): column taken_missing is there already"),
    "too many for oneHot": ({"oneHot": {"columns": ["id"], "maxCategories": 9}}, "StepFailed: step 1 (oneHot): column id has more than 9 categories: `groupRare: {columns: [id], keep: 50}` before it keeps the frequent ones, hashEncode and targetEncode take more; drop it if it names the rows"),
    "nothing to learn of": ({"quantile": {"columns": ["empty"]}}, "StepFailed: step 1 (quantile): column empty has no value in the training split"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(name: str, tmp_path: Path) -> None:
    step, message = WRONG[name]
    data = frame(60).assign(taken=1, taken_missing=2, text="t")
    data["empty"] = pd.array([None] * len(data), dtype="Float64")
    assert failure(data, [step], tmp_path)[: len(message)] == message


def test_unseen_categories_are_told_with_their_share(tmp_path: Path) -> None:
    data = frame()
    data["unique"] = data["id"]
    manifest, _ = prepared(
        data, [{"targetEncode": {"columns": ["unique"]}}], tmp_path, task=CLASSES
    )
    assert manifest.pipeline[0]["account"].endswith(
        "unique: 120 of 120 values in held-out rows are of categories that no training row has"
    )
