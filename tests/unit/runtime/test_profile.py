# ruff: noqa: E501  a table reads better in long lines
"""Features that look wrong are warned of, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import datasets

from trainingjob.runtime.preprocess.profile import findings

ROWS = 400
Y = np.arange(ROWS) % 2
CHANCE = np.random.default_rng(0)
NOISE = CHANCE.normal(size=ROWS)
SHUFFLED = CHANCE.permutation(ROWS)
RARE = (np.arange(ROWS) % 40 == 0).astype(int)


def nulls(values: Any, where: Any) -> pa.Array:
    return pa.array([None if gone else v for v, gone in zip(values, where, strict=True)])


# sentence: the feature, the label, the reason or None
CLASSES: dict[str, tuple[Any, Any, str | None]] = {
    "noise": (NOISE, Y, None),
    "noise of few values": (np.round(NOISE), Y, None),
    "noise beside a rare class": (NOISE, RARE, None),
    "whole numbers that repeat": (CHANCE.integers(0, 200, ROWS), Y, None),
    "a good feature": (Y + NOISE * 0.3, Y, None),
    "a noisy category": (np.where(CHANCE.random(ROWS) < 0.1, 1 - Y, Y), Y, None),
    "the label itself": (Y, Y, "LabelLeaked"),
    "the label as text": (np.where(Y == 1, "yes", "no"), Y, "LabelLeaked"),
    "the label, scaled": ((Y - 0.5) / 0.5, Y, "LabelLeaked"),
    "a threshold": (np.abs(NOISE) * np.where(Y == 1, 1, -1), Y, "LabelLeaked"),
    "a threshold, and a row that is wrong": (np.where(np.arange(ROWS) == 7, -1.0, np.abs(NOISE) * np.where(Y == 1, 1, -1)), Y, "LabelLeaked"),
    "the order of rows": (SHUFFLED, (SHUFFLED >= ROWS // 2).astype(int), "LabelLeaked"),
    "the order of rows of three classes": (SHUFFLED, SHUFFLED * 3 // ROWS, "LabelLeaked"),
    "a rare class by a threshold": (NOISE + 100 * RARE, RARE, "LabelLeaked"),
    "categories of which each has one label": (np.array([f"c{i % 40}" for i in range(ROWS)]), Y, "LabelLeaked"),
    "being there": (nulls(NOISE, Y == 0), Y, "LabelLeaked"),
    "being there, a text": (nulls(["x"] * ROWS, Y == 0), Y, "LabelLeaked"),
    "being there by chance": (nulls(NOISE, CHANCE.random(ROWS) < 0.5), Y, None),
    "an id": (SHUFFLED, Y, "IdLikeFeature"),
    "an id as text": (np.array([f"u{i}" for i in range(ROWS)]), Y, "IdLikeFeature"),
    "texts of several words": (np.array([f"it is {i} o'clock" for i in range(ROWS)]), Y, None),
    "an id of doubles": (SHUFFLED + 1000.0, Y, "IdLikeFeature"),
    "a large id": (SHUFFLED * 7_919_000_000 + 10**15, Y, "IdLikeFeature"),
    "an id by its name": (SHUFFLED**2, Y, None),
    "a constant": (np.full(ROWS, 3.0), Y, "ConstantFeature"),
    "nulls alone": (pa.nulls(ROWS, pa.string()), Y, "ConstantFeature"),
    "few rows of another class": (SHUFFLED * 10.5, (np.arange(ROWS) < 5).astype(int), None),
    "nulls in the label": (NOISE, nulls(Y, NOISE > 1), None),
}  # fmt: skip

NUMBERS: dict[str, tuple[Any, Any, str | None]] = {
    "noise": (NOISE, CHANCE.normal(size=ROWS), None),
    "a good feature": (NOISE + CHANCE.normal(size=ROWS) * 0.3, NOISE, None),
    "the label itself": (NOISE, NOISE, "LabelLeaked"),
    "the label in another unit": (NOISE * 1.8 + 32, NOISE, "LabelLeaked"),
    "what grows with the label": (np.exp(NOISE), NOISE, "LabelLeaked"),
    "categories of which each has one value": (np.array([f"c{i % 20}" for i in range(ROWS)]), np.arange(ROWS) % 20, "LabelLeaked"),
    "an id": (SHUFFLED, NOISE, "IdLikeFeature"),
    "integers beyond doubles": (SHUFFLED + 2**60, NOISE, "IdLikeFeature"),
}  # fmt: skip


def reasons(feature: Any, label: Any, by_class: bool) -> list[str]:
    table = pa.table({"f": pa.array(feature), "y": pa.array(label)})
    return [reason for reason, _ in findings(table, "y", by_class, ROWS)]


@pytest.mark.parametrize("name", CLASSES)
def test_features_of_classes(name: str) -> None:
    feature, label, reason = CLASSES[name]
    assert reasons(feature, label, True) == ([reason] if reason else [])


@pytest.mark.parametrize("name", NUMBERS)
def test_features_of_numbers(name: str) -> None:
    feature, label, reason = NUMBERS[name]
    assert reasons(feature, label, False) == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("load", "by_class"),
    [
        (datasets.load_iris, True),
        (datasets.load_wine, True),
        (datasets.load_breast_cancer, True),
        (datasets.load_digits, True),
        (datasets.load_diabetes, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_of_well_known_data_only_constants_are_warned_of(
    load: Callable[..., Any], by_class: bool
) -> None:
    frame = load(as_frame=True).frame
    found = list(findings(pa.Table.from_pandas(frame), "target", by_class, len(frame)))
    assert {reason for reason, _ in found} <= {"ConstantFeature"}, found


def test_noise_is_never_warned_of() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        rows = int(rng.integers(30, 3000))
        table = pa.table(
            {
                "a": rng.normal(size=rows),
                "b": rng.integers(0, max(2, rows // 3), rows),
                "c": [f"c{i}" for i in rng.integers(0, max(2, rows // 4), rows)],
                "y": (rng.random(rows) < rng.choice([0.01, 0.1, 0.5])).astype(int),
            }
        )
        assert list(findings(table, "y", True, rows)) == [], seed
