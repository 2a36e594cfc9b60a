"""targetEncode: a category as the mean of the label.

The formulas are scikit-learn's (TargetEncoder, "Notes" of its user guide; Micci-Barreca, ACM SIGKDD
Explorations 3, 2001): with n rows of a category, their mean m and variance s, the mean M and the
variance S of all rows, the encoding is w m + (1 - w) M, with w = n S / (n S + s) when ``smooth`` is
unset, and w = n / (n + smooth) else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from trainingjob.api.v1alpha1.features import TargetEncode
from trainingjob.api.v1alpha1.input import ColumnType

from ..engines.frame import HASH, Frame
from ..expressions.dialect import Value
from ..names import column_not_found
from .categories import text_of
from .chosen import add
from .losses import unseen
from .step import Fitted, Where

_FOLDS = 5
# They are listed in the dataset's manifest.
_MOST_CATEGORIES = 100_000
# A column for each: of more, few rows are of any.
_MOST_CLASSES = 100
# The fold of rows that are not of the training split.
_NONE = -1

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Target:
    """What is averaged: SQL of a number for each column that is made, and its name's ending."""

    values: Sequence[str]
    endings: Sequence[str]


@dataclass(frozen=True)
class Sums:
    """Of the rows of some categories (or of one group): how many, and for each target the sums of
    what exceeds the centre, and of its square. All have the categories as their first axis."""

    count: Array
    sums: Array
    squares: Array

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.count - other.count, self.sums - other.sums, self.squares - other.squares)

    @property
    def total(self) -> Sums:
        """Of all categories together."""
        return Sums(
            *(array.sum(axis=0, keepdims=True) for array in (self.count, self.sums, self.squares))
        )

    @property
    def mean(self) -> Array:
        return self.sums / np.maximum(self.count, 1)

    @property
    def variance(self) -> Array:
        return np.maximum(self.squares / np.maximum(self.count, 1) - self.mean**2, 0)


def encodings(of: Sums, smooth: float | None) -> tuple[Array, Array]:
    """A row for each category and a column for each target; and the mean of all rows."""
    total = of.total
    if smooth is None:
        weight = of.count * total.variance
        both = weight + of.variance
    else:
        weight, both = of.count, of.count + smooth
    share = np.divide(weight, both, out=np.zeros_like(of.mean), where=(both > 0) & (of.count > 0))
    return share * of.mean + (1 - share) * total.mean, total.mean[0]


def target_encode(spec: TargetEncode, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: the number of the value, that of null for null, and ``other`` for any value that
    is not listed; training rows have had other numbers, which did not come from their own label."""
    names = list(dict.fromkeys(spec.columns))
    where.require(frame, names)
    if where.label not in frame.columns:
        raise column_not_found(where.text, where.label, list(frame.columns))
    if where.label in names:
        raise where.failure(f"{where.label} is the label: targetEncode encodes features by it")
    target = _target(frame, where)
    folds = spec.folds or _FOLDS
    fold = f"CASE WHEN {where.train} THEN (({HASH} % {folds}) + {folds}) % {folds} ELSE {_NONE} END"
    source = f"(SELECT *, {fold} AS trainingjob_fold FROM {frame.view}) AS data"
    centre = _centre(target, frame, where)
    columns: dict[str, tuple[str, ColumnType]] = {}
    learned: dict[str, Any] = {}
    known = {}
    for index, (name, same) in enumerate(where.unchanged(frame).items()):
        if name not in names:
            columns[name] = (f"data.{same[0]}", same[1])
            continue
        values, by_fold = _sums(name, fold, folds, centre, target, frame, where)
        whole = Sums(*(sum(getattr(one, part) for one in by_fold) for part in Sums.__annotations__))
        found = {_NONE: encodings(whole, spec.smooth)} | {
            number: encodings(whole - one, spec.smooth) for number, one in enumerate(by_fold)
        }
        found = {number: (codes + centre, mean + centre) for number, (codes, mean) in found.items()}
        learned[name] = _learned(values, *found[_NONE])
        if target.endings != [""]:
            learned[name]["endings"] = list(target.endings)
        present = [place for place, value in enumerate(values) if value is not None]
        codes = [f"code{index}_{place}" for place in range(len(target.values))]
        table = where.engine.table(
            {f"value{index}": same[1], f"fold{index}": "bigint"} | dict.fromkeys(codes, "double"),
            [
                (values[place], number, *map(float, found[number][0][place]))
                for number in found
                for place in present
            ],
        )
        column = f"data.{same[0]}"
        source += (
            f" LEFT JOIN {table} ON {column} = {table}.value{index} "
            f"AND data.trainingjob_fold = {table}.fold{index}"
        )
        null = next((place for place, value in enumerate(values) if value is None), None)
        for place, (code, ending) in enumerate(zip(codes, target.endings, strict=True)):
            others = _by_fold(where, {n: float(mean[place]) for n, (_, mean) in found.items()})
            nulls = others
            if null is not None:
                nulls = _by_fold(
                    where, {n: float(its[null][place]) for n, (its, _) in found.items()}
                )
            value = (
                f"CASE WHEN {column} IS NULL THEN {nulls} ELSE coalesce({table}.{code}, {others}) "
                "END"
            )
            if ending:
                add(where, columns, frame, f"{name}_{ending}", (value, "double"))
            else:
                columns[name] = (value, "double")
        known[name] = f"{column} IS NULL OR {table}.value{index} IS NOT NULL"
    marks = {name: f"trainingjob_known_{number}" for number, name in enumerate(known)}
    marked = {mark: (known[name], "boolean") for name, mark in marks.items()}
    made = where.project(frame, {**columns, **marked}, source=source)  # type: ignore[dict-item]
    where.watch(
        made,
        [
            unseen(
                name,
                f"NOT ({where.train})",
                "TRUE",
                f"NOT {mark}",
                f"they become the mean of all rows; drop {name} if it names the rows",
            )
            for name, mark in marks.items()
        ],
    )
    kept = {name: same for name, same in where.unchanged(made).items() if name in columns}
    return where.project(made, kept), {"columns": learned}


def _target(frame: Frame, where: Where) -> Target:
    label, kind = where.dialect.ident(where.label), frame.columns[where.label]
    if not where.by_class:
        if kind not in ("bigint", "double"):
            raise where.failure(f"the label {where.label} is a {kind}, which has no mean")
        return Target([f"CAST({label} AS DOUBLE)"], [""])
    found = where.engine.rows(
        f"SELECT DISTINCT {label} AS class FROM {frame.view} WHERE {where.train} "
        f"AND {label} IS NOT NULL ORDER BY class LIMIT {_MOST_CLASSES + 1}"
    )
    classes = [value for (value,) in found]
    if len(classes) > _MOST_CLASSES:
        raise where.failure(
            f"the label {where.label} has more than {_MOST_CLASSES} classes, of each of which a "
            "column would be made: use groupRare and oneHot, or hashEncode"
        )
    if len(classes) < 2:
        raise where.failure(f"the label {where.label} has one class in the training split")
    one, nought = where.dialect.double(1.0), where.dialect.double(0.0)
    values = [
        f"CASE WHEN {label} = {where.dialect.literal(value, kind)} THEN {one} ELSE {nought} END"
        for value in classes
    ]
    if len(classes) == 2:
        return Target(values[1:], [""])
    return Target(values, [text_of(value) for value in classes])


def _centre(target: Target, frame: Frame, where: Where) -> Array:
    """About the mean of each: sums of squares of what is near it are exact enough. Those of 0 and
    1 are exact as they are."""
    if where.by_class:
        return np.zeros(len(target.values))
    means = ", ".join(f"avg({value})" for value in target.values)
    label = where.dialect.ident(where.label)
    (row,) = where.engine.rows(
        f"SELECT {means} FROM {frame.view} WHERE {where.train} AND {label} IS NOT NULL"
    )
    if any(mean is None for mean in row):
        raise where.failure(f"the label {where.label} has no value in the training split")
    centre = np.array(row, dtype=np.float64)
    _refuse_overflow(centre, where)
    return centre


def _refuse_overflow(cells: Array, where: Where) -> None:
    if not np.isfinite(cells).all():
        raise where.failure(
            f"the label {where.label} is so large that sums of its squares are beyond a double: "
            "divide it with withColumn before this step"
        )


def _sums(
    name: str,
    fold: str,
    folds: int,
    centre: Array,
    target: Target,
    frame: Frame,
    where: Where,
) -> tuple[list[Value | None], list[Sums]]:
    """The categories of the training rows, and of each fold their sums."""
    column, label = where.dialect.ident(name), where.dialect.ident(where.label)
    parts = []
    for value, middle in zip(target.values, centre, strict=True):
        above = f"({value} - {where.dialect.double(float(middle))})"
        parts += [f"sum({above})", f"sum({above} * {above})"]
    found = where.engine.rows(
        f"SELECT {column} AS category, {fold} AS fold, count(*), {', '.join(parts)} "
        f"FROM {frame.view} WHERE {where.train} AND {label} IS NOT NULL GROUP BY 1, 2 "
        f"LIMIT {folds * (_MOST_CATEGORIES + 1) + 1}"
    )
    values = sorted({row[0] for row in found if row[0] is not None})
    if len(values) > _MOST_CATEGORIES:
        raise where.failure(
            f"column {name} has more than {_MOST_CATEGORIES} categories: groupRare before it "
            "makes fewer of them, hashEncode takes any number"
        )
    categories: list[Value | None] = [*values, None]
    places: Mapping[Value | None, int] = {value: at for at, value in enumerate(categories)}
    width = len(target.values)
    cells = np.zeros((folds, len(categories), 1 + 2 * width))
    for category, number, *sums in found:
        cells[int(number), places[category]] = sums
    _refuse_overflow(cells, where)
    if not cells[:, -1, 0].any():
        categories, cells = categories[:-1], cells[:, :-1]
    return categories, [Sums(its[:, :1], its[:, 1::2], its[:, 2::2]) for its in cells]


def _by_fold(where: Where, numbers: Mapping[int, float]) -> str:
    cases = "".join(
        f" WHEN {number} THEN {where.dialect.double(value)}" for number, value in numbers.items()
    )
    return f"CASE data.trainingjob_fold{cases} END"


def _learned(values: Sequence[Value | None], codes: Array, mean: Array) -> dict[str, Any]:
    null = [its for value, its in zip(values, codes, strict=True) if value is None]
    return {
        "values": [str(v) if isinstance(v, date) else v for v in values if v is not None],
        "codes": [
            its.tolist() for value, its in zip(values, codes, strict=True) if value is not None
        ],
        "null": (null[0] if null else mean).tolist(),
        "other": mean.tolist(),
    }
