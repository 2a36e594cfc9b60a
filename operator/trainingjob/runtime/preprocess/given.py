"""Splits that the data gives: a column says where each row goes, or the file that it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainingjob.api.v1alpha1.split import SHARES, Split

from ..base.errors import StageFailure
from ..dataset.manifest import SplitName
from . import advice
from .engines.frame import HASH, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame
from .keys import Keys
from .names import quoted
from .ranks import places_of

# The column that says of which split a row's file is; there is none in files by themselves.
OF_FILE = "trainingjob_split"

NAMES: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_MOST_VALUES = 1000
_SHOWN = 5


def as_given(engine: Engine, frame: Frame, spec: Split, keys: Keys) -> tuple[Frame, str]:
    """The frame with SPLIT and without the column, and what was done in words.

    Of the rows that are given for training the shares of the ``spec`` are drawn for other splits.
    Raises StageFailure(SplitInvalid, SplitEmpty)."""
    (name,), (key,) = keys.names, keys.hidden
    ordered = engine.ordered(frame, spec.seed or 0)
    found = engine.rows(
        f"SELECT {key}, count(*) FROM {ordered.view} GROUP BY 1 LIMIT {_MOST_VALUES + 1}"
    )
    splits = {value: NAMES.get(value.strip().lower()) for value, _ in found if type(value) is str}
    unknown = sorted(
        ((value, count) for value, count in found if splits.get(value) is None),
        key=lambda one: (-one[1], str(one[0])),
    )
    if unknown:
        raise keys.invalid(_unknown(name, unknown, any(splits.values())))
    rows = dict.fromkeys(SPLIT_NUMBER, 0)
    for value, count in found:
        rows[splits[value]] += count  # type: ignore[index]
    if found and not rows["train"]:
        raise StageFailure("SplitEmpty", f"preprocess.split.{keys.of}: no row of {name} says train")
    for split in SHARES:
        if spec.share(split) and rows[split]:
            raise keys.invalid(
                f"{rows[split]} rows of {name} say {split} already: leave preprocess.split.{split} "
                "out, which is a share of the training rows to be drawn for it"
            )
    whens = [
        f"WHEN r.{key} IN ({_literals(engine, splits, split)}) THEN {SPLIT_NUMBER[split]}"
        for split in SHARES
        if rows[split]
    ]
    if spec.draws and rows["train"]:
        whens += _drawn(
            engine, ordered, spec, rows["train"], f"{key} IN ({_literals(engine, splits, 'train')})"
        )
    number = f"CASE {' '.join(whens)} ELSE {TRAIN} END" if whens else f"{TRAIN}"
    kept = {column: kind for column, kind in ordered.columns.items() if column != name}
    columns = ", ".join(f"r.{engine.dialect.ident(column)}" for column in kept)
    view = engine.view(
        f"SELECT {columns}, r.{HASH}, CAST({number} AS TINYINT) AS {SPLIT} FROM {ordered.view} AS r"
    )
    words = "as the files are" if name == OF_FILE else f"as {name} says, which is no feature"
    return replace(ordered, view=view, columns=kept, hidden=(HASH, SPLIT)), words


def _drawn(engine: Engine, frame: Frame, spec: Split, rows: int, where: str) -> list[str]:
    """The cases of the rows that are drawn, of those for training."""
    training = replace(frame, view=engine.view(f"SELECT {HASH} FROM {frame.view} WHERE {where}"))
    test = int(rows * spec.share("test") + 0.5)
    until = min(test + int(rows * spec.share("validation") + 0.5), rows)
    ends = places_of(engine, training, None, {None: rows}, {None: (test, until)})[None]
    return [
        f"WHEN r.{HASH} < {engine.dialect.literal(end, 'bigint')} THEN {SPLIT_NUMBER[split]}"
        for split, end in zip(SHARES, ends, strict=True)
    ]


def _literals(engine: Engine, splits: Mapping[str, SplitName | None], split: str) -> str:
    return ", ".join(
        engine.dialect.text(value) for value, name in sorted(splits.items()) if name == split
    )


def _unknown(name: str, unknown: Sequence[tuple[Any, int]], some_known: bool) -> str:
    shown = ", ".join(
        f"{'null' if value is None else quoted(str(value))} ({count} row{'s' if count > 1 else ''})"
        for value, count in unknown[:_SHOWN]
    )
    more = f", … ({len(unknown)} in all)" if len(unknown) > _SHOWN else ""
    # The test split is seldom the largest.
    value = next((value for value, _ in reversed(unknown) if value is not None), None)
    step = advice.of_split(name, value, some_known)
    return (
        f"{name} has values that name no split: {shown}{more}; write train, validation or test in "
        f"it, say {step}"
    )
