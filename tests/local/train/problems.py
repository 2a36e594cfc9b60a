"""Small problems to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.datasets import write_dataset


def classification(folder: Path, rows: int = 205, features: int = 6, classes: int = 3) -> None:
    """Classes a, b, c by a linear rule of the features."""
    rng = np.random.default_rng(3)
    rule = rng.normal(size=(features, classes))

    def table(count: int) -> pa.Table:
        x = rng.normal(size=(count, features))
        names = np.array([chr(ord("a") + i) for i in range(classes)])
        label = names[(x @ rule).argmax(axis=1)]
        return pa.table({f"x{i}": x[:, i] for i in range(features)} | {"label": label})

    frames = {"train": table(rows), "validation": table(67), "test": table(67)}
    write_dataset(
        folder / "dataset",
        frames,
        label="label",
        task="classification",
        rows_per_file=60,
        rows_per_group=25,
    )


def folded(folder: Path, rows: int = 120, folds: int = 3) -> None:
    """Classes a and b in folds, of different widths: fold 2 lacks a column."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(rows, 3))
    label = np.where(x @ [1.0, -2.0, 0.5] > 0, "a", "b")
    fold = np.arange(rows) % folds + 1

    def table(of: np.ndarray, width: int = 3) -> pa.Table:
        return pa.table({f"x{i}": x[of, i] for i in range(width)} | {"label": label[of]})

    def write(where: Path, test: np.ndarray | None, width: int = 3, **more: Any) -> str:
        train = np.ones(rows, dtype=bool) if test is None else ~test
        frames = {"train": table(train, width), "validation": table(fold == 1, width)}
        frames |= {} if test is None else {"test": table(test, width)}
        return write_dataset(where, frames, label="label", task="classification", **more).digest

    dataset = folder / "dataset"
    digests = [
        write(dataset / f"fold-{number}", fold == number, 2 if number == 2 else 3)
        for number in range(1, folds + 1)
    ]
    write(dataset, None, folds=digests)


def regression(folder: Path, rows: int = 400) -> None:
    """y = 150 + 80 (x0 - 2 x1), as far from zero as blood sugar."""
    rng = np.random.default_rng(4)

    def table(count: int) -> pa.Table:
        x = rng.normal(size=(count, 2))
        return pa.table({"x0": x[:, 0], "x1": x[:, 1], "label": 150 + 80 * (x[:, 0] - 2 * x[:, 1])})

    frames = {"train": table(rows), "validation": table(50), "test": table(50)}
    write_dataset(folder / "dataset", frames, label="label", task="regression")
