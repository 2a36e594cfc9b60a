"""Where a share of the rows ends in their order: exactly, and without putting them in order.

Places are as good as drawn at random from all 64-bit numbers, so the row of a rank lies near that
rank's share of their range. Only the places around there are fetched, some thousands of a billion,
and those before are counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .engines.frame import HASH, Engine, Frame

# A value of the column by which rows are divided: None for null, and for every row without one.
Class = Any
# The least and the greatest place of a row that is looked for.
Band = tuple[int, int]

FIRST = -(2**63)
# After all rows: none has this place, short of one in 2**64.
END = 2**63 - 1

# How far around its share a row is looked for at first, in standard deviations of where it lies.
# Fewer fetch less; more seldom need a second look, which takes twice as many.
_DEVIATIONS = 5.0


def places_of(
    engine: Engine,
    frame: Frame,
    by: str | None,
    rows: Mapping[Class, int],
    ranks: Mapping[Class, Sequence[int]],
) -> dict[Class, Sequence[int]]:
    """The places of the rows of these ranks, from 0, in each class, which has so many ``rows``; as
    many for each class. The place of the rank that is the number of rows is after all of them."""
    held = engine.places(frame) if by is None else None
    if held is not None:
        return {
            value: [FIRST if r <= 0 else int(held[r]) if r < len(held) else END for r in its]
            for value, its in ranks.items()
        }
    found: dict[Class, Sequence[int]] = {}
    wanted, deviations = dict(ranks), _DEVIATIONS
    while wanted:
        bands = {
            value: [band(rank, rows[value], deviations) for rank in its]
            for value, its in wanted.items()
        }
        near = _near(engine, frame, by, bands)
        for value, its in list(wanted.items()):
            at = [
                _at(rank, rows[value], *some)
                for rank, some in zip(its, near.get(value, [(0, [])] * len(its)), strict=True)
            ]
            if None not in at:
                found[value] = at  # type: ignore[assignment]
                del wanted[value]
        deviations *= 2
    return found


def band(rank: int, rows: int, deviations: float) -> Band:
    """The least and the greatest place between which the row of a rank is looked for. Empty for
    ranks whose place is known."""
    if not 0 < rank < rows:
        return END, FIRST
    share = rank / rows
    # The share of the row's place has about the Beta distribution of its rank; the rest is for
    # ranks near the ends, and for few rows, of which all are fetched.
    spread = deviations * (math.sqrt(share * (1 - share) / rows) + 4 / rows)
    return _place(share - spread), _place(share + spread)


def _place(share: float) -> int:
    return min(max(int(share * 2.0**64) + FIRST, FIRST), END)


def _at(rank: int, rows: int, before: int, places: Sequence[int]) -> int | None:
    """The place of a rank, when it is among the ``places``, of which ``before`` lie before."""
    if rank <= 0:
        return FIRST
    if rank >= rows:
        return END
    index = rank - before
    return sorted(places)[index] if 0 <= index < len(places) else None


def _near(
    engine: Engine, frame: Frame, by: str | None, bands: Mapping[Class, Sequence[Band]]
) -> dict[Class, list[tuple[int, list[int]]]]:
    """For each band of each class the number of places before it, and the places in it."""
    source, ends = beside(
        engine, frame, by, {value: [*itertools.chain(*its)] for value, its in bands.items()}
    )
    parts = [
        f"count(*) FILTER (WHERE r.{HASH} < {low}), "
        f"array_agg(r.{HASH}) FILTER (WHERE r.{HASH} >= {low} AND r.{HASH} <= {high})"
        for low, high in zip(ends[::2], ends[1::2], strict=True)
    ]
    query = f"SELECT {class_of(engine, by)}, {', '.join(parts)} FROM {source} GROUP BY 1"
    return {
        value: [
            (before, list(places or ()))
            for before, places in zip(found[::2], found[1::2], strict=True)
        ]
        for value, *found in engine.rows(query)
    }


def class_of(engine: Engine, by: str | None) -> str:
    """SQL: the class of a row of ``r``."""
    return f"r.{engine.dialect.ident(by)}" if by else "CAST(NULL AS BOOLEAN)"


def beside(
    engine: Engine, frame: Frame, by: str | None, numbers: Mapping[Class, Sequence[int]]
) -> tuple[str, list[str]]:
    """What FROM names to have the numbers of its class beside each row, and their SQL."""
    if by is None:
        return f"{frame.view} AS r", [engine.dialect.literal(n, "bigint") for n in numbers[None]]
    width = len(next(iter(numbers.values())))
    names = [f"n{index}" for index in range(width)]
    table = engine.table(
        {"class": frame.columns[by], **dict.fromkeys(names, "bigint")},
        [(value, *row) for value, row in numbers.items()],
    )
    same = f"{class_of(engine, by)} IS NOT DISTINCT FROM c.class"
    return f"{frame.view} AS r JOIN {table} AS c ON {same}", [f"c.{name}" for name in names]
