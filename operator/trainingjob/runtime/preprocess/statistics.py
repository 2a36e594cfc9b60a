"""Statistics of the training split, the same to the last bit however the rows are divided.

Doubles added in another order give another sum, and engines add in whatever order the rows come.
So values are first brought into [-1, 1] by exact steps and rounded to multiples of 2**-52: whole
numbers, whose sum has no order. The rest is exact arithmetic on the driver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .engines.frame import Frame
from .expressions.dialect import Value
from .steps.step import Where

# Sums are taken in two halves, each of which stays within 64 bits for 2**36 rows.
_RESOLUTION = 52
_HALF = 26


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (of the population: over the count) of a column's non-nulls."""

    count: int
    least: float
    greatest: float
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
    centred, sums = [], []
    for index, (name, (count, least, greatest)) in enumerate(zip(columns, found, strict=True)):
        if not count:
            continue
        centre, scale = _centre(float(least), float(greatest))
        double, quoted = where.dialect.double, where.dialect.ident(name)
        unit = f"(CAST({quoted} AS DOUBLE) - {double(centre)}) * {double(1 / scale)}"
        centred.append(f"{unit} AS u{index}")
        for power in (f"u{index}", f"u{index} * u{index}"):
            whole = f"CAST(floor({power} * {double(2.0**_RESOLUTION)} + {double(0.5)}) AS BIGINT)"
            sums += [f"sum({whole} >> {_HALF})", f"sum({whole} & {2**_HALF - 1})"]
    if not sums:
        return [None for _ in columns]
    (row,) = where.engine.rows(
        f"SELECT {', '.join(sums)} FROM "
        f"(SELECT {', '.join(centred)} FROM {frame.view} WHERE {where.train}) AS t"
    )
    totals = iter(row)
    results: list[Moments | None] = []
    for count, least, greatest in found:
        if not count:
            results.append(None)
            continue
        centre, scale = _centre(float(least), float(greatest))
        first, second = (_exact(next(totals), next(totals)) / count for _ in range(2))
        results.append(
            Moments(
                count=count,
                least=float(least),
                greatest=float(greatest),
                mean=float(Fraction(centre) + first * Fraction(scale)),
                # The square of a large deviation would be beyond a double.
                deviation=math.sqrt(max(0.0, float(second - first * first))) * scale
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


def _exact(high: int, low: int) -> Fraction:
    return Fraction((int(high) << _HALF) + int(low), 1 << _RESOLUTION)


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
                f"column {name} has more than {limit} categories; drop it if it names the rows, or "
                "make fewer categories of it with withColumn"
            )
        values.sort()  # type: ignore[type-var]
    return found
