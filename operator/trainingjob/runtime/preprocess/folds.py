"""Folds: the rows for training in so many parts, each of which becomes the test split of a dataset.

Rows are divided once. Then each fold is made a dataset of its own, as any other: the fold is its
test split, the others are for training, and the steps that learn do so from those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..base.errors import StageFailure
from .engines.frame import FIRST_FOLD, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame


def dealt(rows: Mapping[Any, int], folds: int) -> dict[Any, list[int]]:
    """How many of the ``rows`` of each class go to each fold: all are dealt out in turn, class by
    class. So no two folds differ by more than one row, nor by more than one of a class; it is how
    scikit-learn's StratifiedKFold does it, and KFold for one class."""
    found, before = {}, 0
    for value, count in rows.items():
        found[value] = [(count - 1 - (fold - before) % folds) // folds + 1 for fold in range(folds)]
        before += count
    return found


def refuse_few(rows: int, folds: int | None) -> None:
    """Raises StageFailure(SplitEmpty) where there are fewer rows than folds; where there are none
    at all, the checks tell."""
    if folds is not None and 0 < rows < folds:
        raise StageFailure(
            "SplitEmpty",
            f"preprocess.split.folds: {rows} row{'s' if rows > 1 else ''} for {folds} folds"
            f"{at_most(rows)}",
        )


def at_most(parts: int) -> str:
    """What to do where there are no more rows or groups than these."""
    return f"; set it to {parts} at most" if parts > 1 else "; unset it"


def for_training(engine: Engine, divided: Frame) -> Frame:
    """All folds are for training: the dataset of the final model."""
    return _as(engine, divided, f"CASE WHEN {SPLIT} > {TRAIN} THEN {TRAIN} ELSE {SPLIT} END")


def held_out(engine: Engine, divided: Frame, fold: int) -> Frame:
    """A fold, from 0, is the test split. What is the test split of all is not there."""
    test = SPLIT_NUMBER["test"]
    return _as(
        engine,
        divided,
        f"CASE WHEN {SPLIT} = {FIRST_FOLD + fold} THEN {test} WHEN {SPLIT} > {TRAIN} THEN {TRAIN} "
        f"ELSE {SPLIT} END",
        f"WHERE {SPLIT} <> {test}",
    )


def _as(engine: Engine, frame: Frame, split: str, where: str = "") -> Frame:
    names = [engine.dialect.ident(name) for name in frame.columns]
    hidden = (
        f"CAST({split} AS TINYINT) AS {SPLIT}" if name == SPLIT else name for name in frame.hidden
    )
    query = f"SELECT {', '.join([*names, *hidden])} FROM {frame.view} {where}"
    return replace(frame, view=engine.view(query.rstrip()))
