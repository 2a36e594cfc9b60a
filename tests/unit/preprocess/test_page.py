"""Every example of docs/preprocessing.md runs, and does what its row says.

A row of the first table needs a line in ``ROWS``: its first words, and what must be true of the
dataset. To add a column to the frame, see ``houses``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.local.preprocess.both import payload
from trainingjob.api.v1alpha1 import Preprocess
from trainingjob.runtime import preprocess
from trainingjob.runtime.dataset.manifest import DatasetManifest

PAGE = (Path(__file__).parents[3] / "docs" / "preprocessing.md").read_text("utf-8")
# The tables of other sections have tests of their own.
OF_STEPS = re.sub(r"(?ms)^## (CSV|Metrics and weights).*?(?=^## |\Z)", "", PAGE)
COUNT = 300


def houses() -> pd.DataFrame:
    """The data of the page."""
    chance = random.Random(3)

    def some(*values: Any) -> list[Any]:
        return [chance.choice(values) for _ in range(COUNT)]

    return pd.DataFrame(
        {
            "id": [f"h{row}" for row in range(COUNT)],
            "price": some("$1,234", "$99.50", "€2,000,000"),
            "rate": some("12%", "(3.5)"),
            "preis": some("1.234,5", "17,25"),
            "width": some("84 m", "7.5 m"),
            "rooms": some("1", "2.5", "unknown"),
            "area": [chance.choice([None, 10.0 + row]) for row in range(COUNT)],
            "income": [chance.lognormvariate(10, 1) for _ in range(COUNT)],
            "garden": some("yes", "no"),
            "type": some("house", "flat"),
            "city": [chance.choice(["Rome", "Oslo", f"village {row}"]) for row in range(COUNT)],
            "street": [f"street {chance.randrange(40)}" for _ in range(COUNT)],
            "agent": [f"agent {chance.randrange(5000)}" for _ in range(COUNT)],
            "state": some("poor", "fair", "good"),
            "zone": some("02134", "00501"),
            "remarks": [
                " ".join(
                    chance.choices(
                        ["sunny", "quiet", "old", "new", "lovely", "view", "of", "the", "sea"], k=5
                    )
                )
                for _ in range(COUNT)
            ],
            "sold": [
                f"20{chance.randrange(10, 25)}-0{chance.randrange(1, 10)}-1{chance.randrange(10)}"
                for _ in range(COUNT)
            ],
            "built": some("31/12/1999", "01/02/2003"),
            "seen": [1_600_000_000 + 3600 * row for row in range(COUNT)],
            "fold": [("train", "Train", "dev", "test")[row % 4] for row in range(COUNT)],
            "lot": [("train", "test")[row % 4 // 3] for row in range(COUNT)],
            "note_a": some("x", "y"),
            "note_b": some(1, 2),
            "y": [None if row % 50 == 7 else chance.gauss(0, 1) for row in range(COUNT)],
        }
    )


DATA = houses().set_index("id")
Check = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], Any]


def becomes(column: str, values: dict[str, Any]) -> Check:
    """What some raw values of a column become."""

    def check(rows: pd.DataFrame, raw: pd.DataFrame, train: pd.DataFrame) -> bool:
        found = dict(zip(raw[column], rows[column], strict=True))
        return all(
            found[text] == value or (value is None and pd.isna(found[text]))
            for text, value in values.items()
        )

    return check


def columns(*names: str) -> Check:
    """Columns that are there, or with a minus are not."""
    return lambda rows, raw, train: all(
        (name.lstrip("-") in rows) is (name[0] != "-") for name in names
    )


def about(column: str, value: Callable[[pd.DataFrame, pd.DataFrame], Any]) -> Check:
    """A column's values, of the raw rows and of the raw training rows."""
    return lambda rows, raw, train: np.allclose(
        rows[column].astype(float), value(raw, train), rtol=1e-9
    )


def held_out(rows: pd.DataFrame, raw: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """The raw rows that are not for training."""
    return raw[~rows["id"].isin(train.index)]


# The beginning of a row of the table, and what holds of (all rows, raw rows, raw training rows).
ROWS: dict[str, Check] = {
    "amounts: `$1,234`": becomes("price", {"$1,234": 1234.0, "$99.50": 99.5, "€2,000,000": 2e6}),
    "percent": becomes("rate", {"12%": 0.12, "(3.5)": -3.5}),
    "decimal commas": becomes("preis", {"1.234,5": 1234.5, "17,25": 17.25}),
    "a unit": becomes("width", {"84 m": 84.0, "7.5 m": 7.5}),
    "numbers, and a few": becomes("rooms", {"1": 1.0, "2.5": 2.5, "unknown": None}),
    "gaps in numbers": about("area", lambda raw, train: raw["area"].fillna(train["area"].median())),
    "gaps that mean": about("area_missing", lambda raw, train: raw["area"].isna()),
    "columns of different": about("income", lambda raw, train: (raw["income"] - train["income"].mean()) / train["income"].std(ddof=0)),
    "a few values far": about("income", lambda raw, train: raw["income"].clip(train["income"].quantile(0.01), train["income"].quantile(0.99))),
    "amounts over": about("income", lambda raw, train: np.log1p(raw["income"])),
    "a distribution": lambda rows, raw, train: rows["income"].between(0, 1).all() and rows["income"].corr(raw["income"].rank().reset_index(drop=True)) > 0.99,
    "a number that works": lambda rows, raw, train: sorted(set(rows["income"])) == [0, 1, 2, 3, 4],
    "yes and no": becomes("garden", {"yes": True, "no": False}),
    "a few categories": columns("type_house", "type_flat", "-type"),
    "categories, some": columns("city_Rome", "city_Oslo", "city_other", "-city"),
    "hundreds of": lambda rows, raw, train: rows["street"].dtype == float and rows["street"].nunique() > 40,
    "thousands of": columns("agent_0", "agent_15", "-agent_16", "-agent"),
    "categories with an order": becomes("state", {"poor": 0, "fair": 1, "good": 2}),
    "codes with leading": columns("zone_02134", "zone_00501"),
    "free text |": columns("remarks_sunny", "remarks_sea", "-remarks"),
    "free text, and": columns("remarks_0", "remarks_63", "-remarks"),
    "dates |": about("sold_year", lambda raw, train: pd.to_datetime(raw["sold"]).dt.year),
    "dates in": about("built_year", lambda raw, train: raw["built"].str[-4:].astype(int)),
    "a time that": about("sold_daysSince1970", lambda raw, train: (pd.to_datetime(raw["sold"]) - pd.Timestamp(0)).dt.days),
    "seconds since": about("seen_hour", lambda raw, train: pd.to_datetime(raw["seen"], unit="s").dt.hour),
    "many columns": columns("-note_a", "-note_b", "price"),
    "columns of a type": columns("-city", "-sold", "income", "y"),
    "a column of ids": columns("-id"),
    "a new column": columns("ratio"),
    "rows that do not": lambda rows, raw, train: (rows["area"] > 20).all() and len(rows) == (DATA["area"] > 20).sum(),
    "rows without the label": lambda rows, raw, train: rows["y"].notna().all(),
    "equal rows": lambda rows, raw, train: len(rows) == len(raw),
    "a query": lambda rows, raw, train: (rows["area"] > 20).all(),
    "other shares": lambda rows, raw, train: len(train) == round(0.7 * len(raw)),
    "another division": lambda rows, raw, train: len(raw) > len(train),
    "every class": lambda rows, raw, train: len(raw) > len(train),
    "to drop classes": lambda rows, raw, train: len(raw) > len(train),
    "rows of one patient": lambda rows, raw, train: len(train) == (raw["street"].isin(set(train["street"]))).sum(),
    "the same, and every": lambda rows, raw, train: len(train) == (raw["street"].isin(set(train["street"]))).sum(),
    "to be tested on": lambda rows, raw, train: len(train) == (raw["sold"] <= train["sold"].max()).sum(),
    "a column that says": lambda rows, raw, train: set(train["fold"]) == {"train", "Train"} and "fold" not in rows,
    "the same, and a": lambda rows, raw, train: (len(train), len(rows)) == (round(225 * 0.9), 300),
    "metrics over": lambda rows, raw, train: len(train) == len(raw),
    "the same, no patient": lambda rows, raw, train: len(raw) > len(train) == (raw["street"].isin(set(train["street"]))).sum(),
    "a test set that": lambda rows, raw, train: (len(train), len(rows)) == (270, 350),
}  # fmt: skip


def examples() -> list[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    """Every row of a table with YAML in its second column: the row, its steps, other fields. Those
    about files of CSV are in test_csv.py."""
    found = []
    for line in re.findall(r"^\| (.*) \|$", OF_STEPS, re.M):
        second = line.split(" | ")[1] if " | " in line else ""
        snippets = [
            yaml.safe_load(text) for text in re.findall(r"`(\w+: \{.*?\})`(?:$|, then )", second)
        ]
        steps = [one for one in snippets if "split" not in one]
        more = {key: value for one in snippets if "split" in one for key, value in one.items()}
        if snippets:
            found.append((line, steps, more))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("houses") / "houses.csv"
    houses().to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("line", "steps", "more"), examples(), ids=lambda v: v[:40] if isinstance(v, str) else ""
)
def test_an_example_does_what_its_row_says(
    line: str, steps: list[dict[str, Any]], more: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    (check,) = [check for begin, check in ROWS.items() if line.startswith(begin)]
    classes = (
        {"type": "classification", "label": "type"}
        if more.get("split", {}).get("stratify")
        else None
    )
    split = more.get("split") or {"test": 0.2, "validation": 0.1}
    if "files" in split:
        houses()[:50].to_csv(tmp_path / "exam.csv", index=False)
        split["files"] = {"test": f"file://{tmp_path}/exam.csv"}
    preprocess.run(
        payload(
            "pandas",
            source,
            tmp_path / "out",
            with_label(steps, classes),
            task=classes,
            split=split,
        )
    )
    manifest = DatasetManifest.read(tmp_path / "out")
    parts = {
        name: pd.read_parquet(tmp_path / "out" / name)
        for name, info in manifest.splits.items()
        if info.files
    }
    rows = pd.concat(parts.values(), ignore_index=True)
    if "id" not in rows:
        assert check(rows, DATA, DATA)
        return
    raw = DATA.loc[rows["id"]].reset_index(drop=True)
    assert check(rows, raw, DATA.loc[parts["train"]["id"]])


def with_label(steps: list[dict[str, Any]], classes: Any) -> list[dict[str, Any]]:
    """The example among steps that a whole job needs beside it."""
    if any("dropna" in step for step in steps) or classes:
        return steps
    return [{"fillna": {"value": 0.0, "columns": ["y"]}}, *steps]


def test_every_row_is_an_example_and_checked() -> None:
    found = [line for line, _, _ in examples()]
    assert len(found) == len(ROWS)
    for begin in ROWS:
        assert sum(line.startswith(begin) for line in found) == 1, begin


def test_every_job_is_valid() -> None:
    found = re.findall(r"^    preprocess:\n(?:^      .*\n)+", PAGE, re.M)
    assert len(found) == 2
    for text in found:
        Preprocess.model_validate(yaml.safe_load(text)["preprocess"])


def test_the_job_at_its_head_runs(source: Path, tmp_path: Path) -> None:
    text = re.search(r"^    preprocess:\n(.*?)^\S", PAGE, re.S | re.M)
    assert text
    spec = yaml.safe_load("preprocess:\n" + text[1])["preprocess"]
    steps = [*spec["steps"][:-2], {"dropna": {"subset": ["y"]}}, *spec["steps"][-2:]]
    preprocess.run(payload("pandas", source, tmp_path / "out", steps, split=spec["split"]))
    assert {"sold_month", "type_house", "price"} <= set(
        DatasetManifest.read(tmp_path / "out").columns
    )
