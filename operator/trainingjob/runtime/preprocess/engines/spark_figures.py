"""Figures of columns, as Spark finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...dataset.buffers import numpy_of
from ..expressions.spark_dialect import SPARK
from .figures import in_units
from .frame import Engine, Figure, Frame

_FIGURES: dict[Figure, str] = {
    "least": "min",
    "greatest": "max",
    "mean": "avg",
    "deviation": "stddev_pop",
}


def figures(
    engine: Engine, frame: Frame, columns: Sequence[str], where: str, which: Sequence[Figure]
) -> list[tuple[Any, ...]]:
    """As ``Engine.figures``."""

    def found(names: Sequence[str], unit: float) -> Iterator[tuple[Any, ...]]:
        parts = []
        for name in names:
            value = f"CAST({SPARK.ident(name)} AS DOUBLE)"
            value = value if unit == 1.0 else f"{value} * {SPARK.double(unit)}"
            parts += [f"{_FIGURES[figure]}({value})" for figure in which]
        (row,) = engine.rows(f"SELECT {', '.join(parts)} FROM {frame.view} WHERE {where}")
        values = [None if value is None else value / unit for value in row]
        return zip(*(values[place :: len(which)] for place in range(len(which))), strict=True)

    return in_units(columns, found)


def middle(
    engine: Engine, frame: Frame, columns: Sequence[str], where: str, *, small: bool
) -> list[tuple[Any, Any]]:
    """As ``Engine.middle``; ``small``: whether the driver may have all values."""
    names = [SPARK.ident(name) for name in columns]
    source = f"FROM {frame.view} WHERE {where}"
    if small:
        table = engine.arrow(f"SELECT {', '.join(names)} {source}")
        return [_middle_of(column) for column in table.columns]
    rows = frame.layout.rows if frame.layout else 0
    # The exact function holds every distinct value in one place. A sketch of bounded size gives
    # two values around the middle, and only what lies between those is then looked at.
    accuracy = max(2_000, min(rows // 10_000, 100_000))
    around = f"array({0.5 - 2 / accuracy!r}D, {0.5 + 2 / accuracy!r}D)"
    sketches = ", ".join(f"approx_percentile({name}, {around}, {accuracy})" for name in names)
    (found,) = engine.rows(f"SELECT {sketches} {source}")
    parts = []
    for name, column, bounds in zip(names, columns, found, strict=True):
        low, high = (
            SPARK.literal(bound, frame.columns[column]) for bound in bounds or (None, None)
        )
        parts.append(
            f"struct(count({name}), count_if({name} < {low}), count_if({name} = {low}), "
            f"collect_list(CASE WHEN {name} > {low} AND {name} < {high} THEN {name} END))"
        )
    (counted,) = engine.rows(f"SELECT {', '.join(parts)} {source}")
    return [
        _middle(count, below, equal, between, bounds)
        for (count, below, equal, between), bounds in zip(counted, found, strict=True)
    ]


def _middle_of(column: pa.ChunkedArray) -> tuple[Any, Any]:
    values = numpy_of(column.drop_null())
    if not len(values):
        return (None, None)
    places = [(len(values) - 1) // 2, len(values) // 2]
    low, high = np.partition(values, places)[places].tolist()
    return low, high


def _middle(
    count: int, below: int, equal: int, between: list[Any], bounds: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """The middle values of ``count`` values, of which ``below`` are less than the first bound,
    ``equal`` are the first bound, and ``between`` lie between the bounds."""
    if bounds is None:
        return (None, None)
    between.sort()

    def at(place: int) -> Any:
        place -= below + equal
        assert place + equal >= 0, "the sketch is less accurate than it promises"
        return bounds[0] if place < 0 else between[place] if place < len(between) else bounds[1]

    return at((count - 1) // 2), at(count // 2)
