"""Dividing by time: the latest rows are for the test, those before them for validation.

A split begins at a value, so that rows of the same time stay together: at the one that brings the
rows from there on nearest to what is asked. It is found without putting all rows in order: a sample
of them says between which values it lies, the rows before those are counted, and so on with the
rows between.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.split import Split

from ..base.errors import StageFailure
from . import advice
from .engines.frame import HASH, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame
from .keys import Keys

# Rows that the driver puts in order, and those of a sample.
MOST_ROWS = 100_000
_SAMPLE = 8192
# How far around its share a row is looked for, in standard deviations of where it lies.
_DEVIATIONS = 5.0

TYPES = ("date", "timestamp", "bigint", "double")


def by_time(
    engine: Engine, frame: Frame, spec: Split, keys: Keys, kind: ColumnType | None
) -> tuple[Frame, str]:
    """The frame with SPLIT, and what was done in words; raises StageFailure(SplitInvalid,
    SplitEmpty)."""
    (name,), (key,) = keys.names, keys.hidden
    if kind not in TYPES:
        how = "name another column"
        if kind == "string":
            least, most = (
                f"{end}({engine.dialect.substring(key, 1, 64)})" for end in ("min", "max")
            )
            (ends,) = engine.rows(f"SELECT {least}, {most} FROM {frame.view}")
            how = advice.of_time(name, [text for text in ends if text is not None])
        raise keys.invalid(f"{name} is a {kind}, not a date, a timestamp or a number; {how}")
    ordered = engine.ordered(frame, 0)
    keys.refuse_nulls(ordered)
    assert ordered.layout is not None
    times = Times(engine, ordered, key, kind)
    rows = ordered.layout.rows
    begins: dict[str, Any] = {}
    later = 0  # rows that are in later splits
    for split, share in (("test", spec.share("test")), ("validation", spec.share("validation"))):
        asked = int(rows * share + 0.5)
        if not share or rows == later:
            continue
        before = min(begins.values(), default=None)
        begin, count = times.begin(later + max(asked, 1), later, before)
        if count == rows:
            values = ", ".join(f"{text(v)} in {n} rows" for v, n in times.first_values())
            raise StageFailure(
                "SplitEmpty",
                f"preprocess.split.time: {name} has too few different values for the splits "
                f"({values}): rows of the same time stay together, and none are left for training",
            )
        begins[split], later = begin, count
    whens = " ".join(
        f"WHEN r.{key} >= {engine.dialect.literal(begin, kind)} THEN {SPLIT_NUMBER[split]}"  # type: ignore[index]
        for split, begin in begins.items()
    )
    number = f"CASE {whens} ELSE {TRAIN} END" if whens else f"{TRAIN}"
    columns = ", ".join(f"r.{engine.dialect.ident(name)}" for name in ordered.columns)
    view = engine.view(
        f"SELECT {columns}, r.{HASH}, CAST({number} AS TINYINT) AS {SPLIT} FROM {ordered.view} AS r"
    )
    told = [f"{split} from {text(begin)}" for split, begin in reversed(begins.items())]
    words = f"by {name}: {', '.join(told) or 'all for training'}"
    return replace(ordered, view=view, hidden=(HASH, SPLIT)), words


def text(value: Any) -> str:
    """A time in words: only one of the engines says that it is UTC."""
    return str(value.replace(tzinfo=None)) if isinstance(value, datetime) else str(value)


class Times:
    """The times of the rows of a frame: a column without nulls."""

    def __init__(self, engine: Engine, frame: Frame, column: str, kind: ColumnType) -> None:
        self._engine, self._column, self._kind = engine, column, kind
        self._view = frame.view
        assert frame.layout is not None
        self._rows = frame.layout.rows

    def begin(self, wanted: int, later: int, before: Any) -> tuple[Any, int]:
        """The time from which on there are about the ``wanted`` rows, as near as may be, and how
        many there are; more than ``later``, which begin at ``before``, if there are such."""
        reached = self.at(self._rows - min(wanted, self._rows))
        if before is not None and reached >= before:
            reached = self._one(f"max({self._column})", f"{self._column} < {self._literal(before)}")
        value = self._literal(reached)
        more = self._count(f"{self._column} >= {value}")
        fewer = self._count(f"{self._column} > {value}")
        if fewer > later and (more == self._rows or wanted - fewer < more - wanted):
            return self._one(f"min({self._column})", f"{self._column} > {value}"), fewer
        return reached, more

    def at(self, rank: int) -> Any:
        """The time of the row of a rank, from 0, in their order."""
        column, where, rows, spread = self._column, "TRUE", self._rows, _DEVIATIONS
        while rows > MOST_ROWS:
            low, high = self._around(where, rank / rows, rows, spread)
            least, most = self._literal(low), self._literal(high)
            ((below, reached),) = self._engine.rows(
                f"SELECT count(*) FILTER (WHERE {column} < {least}), "
                f"count(*) FILTER (WHERE {column} <= {most}) FROM {self._view} WHERE {where}"
            )
            if below <= rank < reached and low == high:
                return low
            # One value is never all of them.
            spread = 0.0 if (below, reached) == (0, rows) else _DEVIATIONS
            if rank < below:
                where, rows = f"{where} AND {column} < {least}", below
            elif rank >= reached:
                where, rows = f"{where} AND {column} > {most}", rows - reached
                rank -= reached
            else:
                where = f"{where} AND {column} >= {least} AND {column} <= {most}"
                rows, rank = reached - below, rank - below
        found = self._engine.rows(f"SELECT {column} FROM {self._view} WHERE {where}")
        return sorted(found)[rank][0]

    def _around(self, where: str, share: float, rows: int, spread: float) -> tuple[Any, Any]:
        """Two times between which that share of the rows ends, or one, by a sample of them."""
        # Places are as good as drawn at random.
        mask = (1 << (rows // _SAMPLE).bit_length()) - 1
        sample = self._engine.rows(
            f"SELECT {self._column} FROM {self._view} WHERE {where} AND ({HASH} & {mask}) = 0"
        )
        values = sorted(value for (value,) in sample)
        if not values:
            value = self._one(f"max({self._column})", where)
            return value, value
        place, last = share * len(values), len(values) - 1
        off = spread * (math.sqrt(share * (1 - share) * len(values)) + 1)
        return tuple(values[min(max(int(p), 0), last)] for p in (place - off, place + off))  # type: ignore[return-value]

    def first_values(self) -> list[tuple[Any, int]]:
        """Some values, and in how many rows they are."""
        query = f"SELECT {self._column}, count(*) FROM {self._view} GROUP BY 1 LIMIT 5"
        return sorted(self._engine.rows(query))

    def _count(self, where: str) -> int:
        return int(self._one("count(*)", where))

    def _one(self, value: str, where: str) -> Any:
        ((found,),) = self._engine.rows(f"SELECT {value} FROM {self._view} WHERE {where}")
        return found

    def _literal(self, value: Any) -> str:
        return self._engine.dialect.literal(value, self._kind)
