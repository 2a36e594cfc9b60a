"""Statistics of the training split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .engines.frame import Frame
from .expressions.dialect import Value
from .steps.step import Where


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (of the population: over the count) of a column's non-nulls."""

    mean: float
    deviation: float


def ranges(where: Where, frame: Frame, columns: Sequence[str]) -> list[tuple[int, Any, Any]]:
    """Count of non-nulls, least and greatest value of each column, in the training split."""
    parts = []
    for name in columns:
        quoted = where.dialect.ident(name)
        parts += [f"count({quoted})", f"min({quoted})", f"max({quoted})"]
    row = where.engine.rows(f"SELECT {', '.join(parts)} FROM {frame.view} WHERE {where.train}")[0]
    return list(zip(row[0::3], row[1::3], row[2::3], strict=True))


def moments(where: Where, frame: Frame, columns: Sequence[str]) -> list[Moments | None]:
    """Moments of numeric columns in the training split; None for a column without values."""
    found = ranges(where, frame, columns)
    double = where.dialect.double
    units, sums = [], []
    for index, (name, (count, least, greatest)) in enumerate(zip(columns, found, strict=True)):
        if not count:
            continue
        # Near 0 and of about 1, no square is beyond a double, and no difference loses digits.
        centre, scale = _centre(float(least), float(greatest))
        value = f"CAST({where.dialect.ident(name)} AS DOUBLE)"
        units.append(f"({value} - {double(centre)}) * {double(1 / scale)} AS u{index}")
        sums += [f"avg(u{index})", f"avg(u{index} * u{index})"]
    if not sums:
        return [None for _ in columns]
    (row,) = where.engine.rows(
        f"SELECT {', '.join(sums)} FROM "
        f"(SELECT {', '.join(units)} FROM {frame.view} WHERE {where.train}) AS t"
    )
    totals = iter(row)
    results: list[Moments | None] = []
    for count, least, greatest in found:
        if not count:
            results.append(None)
            continue
        centre, scale = _centre(float(least), float(greatest))
        first, second = next(totals), next(totals)
        results.append(
            Moments(
                mean=centre + first * scale,
                deviation=math.sqrt(max(0.0, second - first * first)) * scale
                if least != greatest
                else 0.0,
            )
        )
    return results


def _centre(least: float, greatest: float) -> tuple[float, float]:
    """The middle of a range, and a power of two of about half its width."""
    half = greatest / 2 - least / 2
    # Within what a double can hold, its inverse too.
    return greatest / 2 + least / 2, math.ldexp(1.0, min(max(math.frexp(half)[1], -1000), 1023))


def modes(where: Where, frame: Frame, columns: Sequence[str]) -> list[Value | None]:
    """The most frequent value of each column in the training split, the least of equals; None
    for a column without values. One query for the columns of each type."""
    results: dict[str, Value] = {}
    for kind in dict.fromkeys(frame.columns[name] for name in columns):
        same = [name for name in columns if frame.columns[name] == kind]
        melted = where.engine.melt(frame, same, where.train)
        rows = where.engine.rows(
            "SELECT i, v FROM (SELECT i, v, row_number() OVER (PARTITION BY i ORDER BY n DESC, v) "
            f"AS place FROM (SELECT i, v, count(*) AS n FROM ({melted}) AS m GROUP BY i, v) AS c) "
            "AS t WHERE place = 1"
        )
        results.update({same[index]: value for index, value in rows})
    return [results.get(name) for name in columns]


def categories(
    where: Where, frame: Frame, columns: Sequence[str], limit: int
) -> dict[str, list[Value]]:
    """The distinct non-null values of each column in the training split, sorted.

    Raises StageFailure(StepFailed) for more than ``limit`` in a column."""
    found: dict[str, list[Value]] = {name: [] for name in columns}
    for kind in dict.fromkeys(frame.columns[name] for name in columns):
        same = [name for name in columns if frame.columns[name] == kind]
        melted = where.engine.melt(frame, same, where.train)
        rows = where.engine.rows(
            "SELECT i, v FROM (SELECT i, v, row_number() OVER (PARTITION BY i ORDER BY v) AS place "
            f"FROM (SELECT DISTINCT i, v FROM ({melted}) AS m) AS c) AS t "
            f"WHERE place <= {limit + 1}"
        )
        for index, value in rows:
            found[same[index]].append(value)
    for name, values in found.items():
        if len(values) > limit:
            raise where.failure(
                f"column {name} has more than {limit} categories: `groupRare: {{columns: [{name}], "
                "keep: 50}` before it keeps the frequent ones, hashEncode and targetEncode take "
                "more; drop it if it names the rows"
            )
        values.sort()  # type: ignore[type-var]
    return found
