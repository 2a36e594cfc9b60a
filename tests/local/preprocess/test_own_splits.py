"""Splits of one's own are the same on both engines, and as pandas would have them.

What else they promise: tests/unit/preprocess/test_split_by_*.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainingjob.runtime.preprocess import groups, times

from .both import same

CLASSES = {"type": "classification", "label": "y"}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = 600
    return pd.DataFrame(
        {
            "id": range(rows),
            "who": rng.choice([f"p{i}" for i in range(50)], rows),
            "visit": rng.integers(0, 3, rows),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), "D"),
            "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9**12, rows), "us"),
            "x": rng.normal(size=rows).round(3),
            "fold": rng.choice(["Train", "train", "dev", "test"], rows, p=[0.3, 0.4, 0.1, 0.2]),
            "y": rng.choice(["a", "b"], rows, p=[0.7, 0.3]),
        }
    )


def whole_groups(*by: str) -> Callable[[pd.DataFrame], bool]:
    return lambda found: bool((found.groupby(list(by))["split"].nunique() == 1).all())


def in_order(by: str) -> Callable[[pd.DataFrame], bool]:
    def holds(found: pd.DataFrame) -> bool:
        ends = found.groupby("split")[by].agg(["min", "max"])
        train, validation, test = (ends.loc[name] for name in ("train", "validation", "test"))
        return bool(train["max"] < validation["min"] and validation["max"] < test["min"])

    return holds


def as_said(found: pd.DataFrame) -> bool:
    names = {"Train": "train", "dev": "validation"}
    return bool((found["fold"].replace(names) == found["split"]).all())


SHARES = {"test": 0.2, "validation": 0.1}
DROPPED = [{"drop": {"columns": ["who", "at"]}}]
SPLITS: dict[str, tuple[dict[str, Any], list[Any], Callable[[pd.DataFrame], bool]]] = {
    "groups": ({"by": ["who"], **SHARES}, [], whole_groups("who")),
    "groups of two columns": (
        {"by": ["who", "visit"], "seed": 5, **SHARES},
        [],
        whole_groups("who", "visit"),
    ),
    "groups of numbers, stratified": (
        {"by": ["x"], "stratify": True, **SHARES},
        [],
        whole_groups("x"),
    ),
    "groups of a column that is dropped": ({"by": ["who"], **SHARES}, DROPPED, whole_groups("who")),
    "groups, of which none is held out": (
        {"by": ["who"], "test": 0.0, "validation": 0.0},
        [],
        whole_groups("who"),
    ),
    "days": ({"time": "day", **SHARES}, [], in_order("day")),
    "times, dropped": ({"time": "at", **SHARES}, DROPPED, in_order("at")),
    "a column": ({"column": "fold"}, [], as_said),
}


@pytest.mark.parametrize("name", SPLITS)
def test_both_engines_divide_alike(
    name: str, spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many rows as many have.
    monkeypatch.setattr(groups, "MOST_GROUPS", 40 if name == "groups" else 100_000)
    monkeypatch.setattr(times, "MOST_ROWS", 20)
    monkeypatch.setattr(times, "_SAMPLE", 64)
    split, steps, holds = SPLITS[name]
    frame = table()
    frame.to_csv(tmp_path / "data.csv", index=False)
    _, files = same(tmp_path / "data.csv", tmp_path, steps, split=split, task=CLASSES)
    where = {i: part for (part, _), found in files.items() for i in found["id"].to_pylist()}
    assert holds(frame.assign(split=frame["id"].map(where)))


@pytest.mark.parametrize(
    "split",
    [{"folds": 3, "stratify": True, "test": 0.2}, {"folds": 2, "by": ["who"], "validation": 0.1}],
    ids=["stratified", "groups"],
)
def test_both_engines_fold_alike(split: dict[str, Any], spark: Any, tmp_path: Path) -> None:
    """The rows, and what steps have learned in each fold."""
    frame = table().drop(columns=["day", "at", "fold"])
    frame.to_csv(tmp_path / "data.csv", index=False)
    steps = [{"scale": {"columns": ["x"]}}, {"targetEncode": {"columns": ["visit"]}}]
    _, files = same(tmp_path / "data.csv", tmp_path, steps, split=split, task=CLASSES)
    held_out = [
        i
        for (part, _), found in files.items()
        if part.startswith("fold-") and part.endswith("/test")
        for i in found["id"].to_pylist()
    ]
    train = [i for (part, _), t in files.items() if part == "train" for i in t["id"].to_pylist()]
    assert sorted(held_out) == sorted(train)


def test_both_engines_say_alike_what_is_wrong(spark: Any, tmp_path: Path) -> None:
    frame = table().assign(gap=lambda t: t["day"].where(t["id"] > 2), one=1)
    frame.to_csv(tmp_path / "data.csv", index=False)
    for split, reason in (
        ({"by": ["gap"]}, "SplitInvalid"),
        ({"time": "one"}, "SplitEmpty"),
        ({"column": "day"}, "SplitInvalid"),
        ({"column": "fold", "validation": 0.1}, "SplitInvalid"),
        ({"folds": 4, "by": ["visit"]}, "SplitEmpty"),
    ):
        assert same(tmp_path / "data.csv", tmp_path, split=split, task=CLASSES)[0] == reason


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_both_engines_take_splits_from_files(format: str, spark: Any, tmp_path: Path) -> None:
    write = {
        "csv": lambda t, path: t.to_csv(path, index=False),
        "parquet": lambda t, path: t.to_parquet(path, index=False),
    }[format]
    frame = table().drop(columns=["day", "at"])
    parts = {"train": frame[:400], "test": frame[400:]}
    for name, part in parts.items():
        (tmp_path / name).mkdir()
        write(part, tmp_path / name / f"part.{format}")
    split = {"files": {"test": f"file://{tmp_path}/test"}, "validation": 0.25}
    steps = [{"scale": {"columns": ["x"]}}]
    _, files = same(tmp_path / "train", tmp_path, steps, split=split, task=CLASSES, format=format)
    ids = {
        name: {i for (part, _), t in files.items() if part == name for i in t["id"].to_pylist()}
        for name in ("train", "validation", "test")
    }
    assert ids["test"] == set(parts["test"]["id"])
    assert len(ids["validation"]) == 100
    assert ids["train"] | ids["validation"] == set(parts["train"]["id"])
