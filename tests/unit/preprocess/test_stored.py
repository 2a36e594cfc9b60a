"""What the manifest stores of each step is enough to apply it to rows that nobody has seen.

Written anew in pandas, numpy and scikit-learn: what inference has to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

from .features import CLASSES, frame, prepared

Apply = Callable[[dict[str, Any], dict[str, Any], pd.DataFrame], pd.DataFrame]


def each(function: Callable[[pd.Series, Any], Any], stored: str) -> Apply:
    """A step that has something stored of each of its columns."""

    def apply(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(
            **{name: function(rows[name], its) for name, its in fitted[stored].items()}
        )

    return apply


def instead(rows: pd.DataFrame, name: str, columns: dict[str, Any]) -> pd.DataFrame:
    """Columns in the place of one."""
    at = list(rows).index(name)
    return pd.concat(
        [rows.iloc[:, :at], pd.DataFrame(columns, index=rows.index), rows.iloc[:, at + 1 :]], axis=1
    )


def texts(values: pd.Series) -> list[str]:
    return [
        format(v, "d") if isinstance(v, int) else v
        for v in values.astype(object).where(values.notna(), "")
    ]


def one_hot(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    for name, categories in fitted["categories"].items():
        rows = instead(
            rows,
            name,
            {f"{name}_{its}": (rows[name] == its).fillna(False).astype(int) for its in categories},
        )
    return rows


def tfidf(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    for name, weights in fitted["weights"].items():
        vectorizer = TfidfVectorizer(vocabulary=list(weights))
        vectorizer.idf_ = np.array(list(weights.values()))
        found = vectorizer.transform(texts(rows[name])).toarray()
        rows = instead(
            rows, name, {f"{name}_{word}": found[:, at] for at, word in enumerate(weights)}
        )
    return rows


def hash_text(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    for name in spec["columns"]:
        found = (
            HashingVectorizer(n_features=spec["features"]).transform(texts(rows[name])).toarray()
        )
        rows = instead(rows, name, {f"{name}_{at}": found[:, at] for at in range(found.shape[1])})
    return rows


def hash_encode(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    for name in spec["columns"]:
        given = [[text] if text else [] for text in texts(rows[name])]
        found = FeatureHasher(spec["features"], input_type="string").transform(given).toarray()
        rows = instead(rows, name, {f"{name}_{at}": found[:, at] for at in range(found.shape[1])})
    return rows


def target_encode(spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    for name, its in fitted["columns"].items():
        codes = dict(zip(its["values"], its["codes"], strict=True))
        found = np.array(
            [its["null"] if pd.isna(v) else codes.get(v, its["other"]) for v in rows[name]]
        )
        endings = ["_a", "_b", "_c"] if found.shape[1] > 1 else [""]
        rows = instead(
            rows, name, {f"{name}{ending}": found[:, at] for at, ending in enumerate(endings)}
        )
    return rows


def quantile(values: pd.Series, quantiles: list[float]) -> Any:
    known, shares, x = (
        np.array(quantiles),
        np.linspace(0, 1, len(quantiles)),
        values.to_numpy(float, na_value=np.nan),
    )
    found = (np.interp(x, known, shares) + 1 - np.interp(-x, -known[::-1], shares)) / 2
    return np.where(x == known[0], 0, np.where(x == known[-1], 1, found))


def missing_indicator(
    spec: dict[str, Any], fitted: dict[str, Any], rows: pd.DataFrame
) -> pd.DataFrame:
    return rows.assign(
        **{f"{name}_missing": rows[name].isna().astype(int) for name in fitted["columns"]}
    )


APPLY: dict[str, Apply] = {
    "drop": lambda spec, fitted, rows: rows.drop(columns=spec["columns"]),
    "select": lambda spec, fitted, rows: rows[spec["columns"]],
    "missingIndicator": missing_indicator,
    "fillna": each(lambda values, value: values.fillna(value), "values"),
    "scale": each(lambda values, its: (values.astype(float) - its["offset"]) / its["divisor"], "columns"),
    "clip": each(lambda values, its: values.astype("Float64").clip(its.get("min"), its.get("max")), "columns"),
    "log1p": lambda spec, fitted, rows: rows.assign(**{name: np.log1p(rows[name]) for name in fitted["columns"]}),
    "bin": each(lambda values, borders: pd.Series(np.searchsorted(borders, values.to_numpy(float, na_value=np.nan), side="right"), values.index).where(values.notna()), "borders"),
    "quantile": each(quantile, "quantiles"),
    "groupRare": each(lambda values, kept: values.where(values.isin(kept) | values.isna(), "other"), "kept"),
    "oneHot": one_hot,
    "targetEncode": target_encode,
    "tfidf": tfidf,
    "hashText": hash_text,
    "hashEncode": hash_encode,
}  # fmt: skip

STEPS: list[dict[str, Any]] = [
    {"drop": {"types": ["date", "timestamp"], "columns": ["y*"]}},
    {"missingIndicator": {}},
    {"fillna": {"strategy": "median", "columns": ["n"]}},
    {"fillna": {"value": "nowhere"}},
    {"clip": {"columns": ["x"], "minQuantile": 0.1, "maxQuantile": 0.9}},
    {"log1p": {"columns": ["x"]}},
    {"bin": {"columns": ["x"], "bins": 4}},
    {"quantile": {"columns": ["full"], "quantiles": 30}},
    {"scale": {"columns": ["n"]}},
    {"tfidf": {"columns": ["review"], "features": 5}},
    {"targetEncode": {"columns": ["code"]}},
    {"groupRare": {"columns": ["city"], "keep": 3}},
    {"oneHot": {"columns": ["city"]}},
]


@pytest.mark.parametrize(
    "steps",
    [
        STEPS,
        [
            {"select": {"types": ["string", "bigint"]}},
            {"hashText": {"columns": ["review"], "features": 6}},
            {"hashEncode": {"columns": ["c*"], "features": 4}},
        ],
    ],
    ids=["learned", "not learned"],
)
def test_the_stored_pipeline_makes_the_held_out_rows(
    steps: list[dict[str, Any]], tmp_path: Path
) -> None:
    data = frame(400)
    manifest, parts = prepared(data, steps, tmp_path, task=CLASSES)
    # As a later stage has it: JSON, and nothing else.
    pipeline = json.loads(json.dumps(manifest.pipeline))
    for split in ("validation", "test"):
        rows = data.set_index("id").loc[parts[split]["id"]].reset_index()
        for entry in pipeline:
            ((kind, spec),) = entry["step"].items()
            rows = APPLY[kind](spec, entry["fitted"], rows)
        assert list(rows) == list(parts[split])
        for name in rows:
            if pd.api.types.is_numeric_dtype(rows[name]):
                found, wanted = (
                    part[name].to_numpy(float, na_value=np.nan) for part in (parts[split], rows)
                )
                np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12, err_msg=name)
            else:
                assert parts[split][name].tolist() == rows[name].tolist()
