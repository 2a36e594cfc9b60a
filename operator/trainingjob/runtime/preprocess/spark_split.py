"""Dividing rows by rank of their hash with Spark: exactly, and without putting them in order.

A split begins at a rank. The hash there is found as a word in a dictionary is: rows are counted by
the leading bits of their hash, those among which the rank lies by more bits, and so on, until the
split begins where a prefix does. A comparison then tells the split of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dialect import SPARK
from .frame import HASH, SPLIT, SPLIT_NUMBER, Engine, Frame, Layout, QuotaOf

_ALL_BITS = 64
# How many bits more at a time; fewer when a count would have more results than this.
_STEP = 12
_MOST_COUNTS = 2**17
_PLACE = "trainingjob_place"


@dataclass(frozen=True)
class Bound:
    """Where a split begins: before the rows whose hash begins like this one, but for ``skip`` of
    them that still belong to the split before."""

    hash: int
    skip: int


# After all rows: none has this hash, short of one in 2**64.
_END = Bound(2**63 - 1, 0)

# A value of the column to stratify by: None for null, and for every row when there is no such.
Class = Any
# Where the validation rows begin, and the training rows.
Bounds = Mapping[Class, tuple[Bound, Bound]]


@dataclass(frozen=True)
class Division:
    """The division of a frame with HASH: in the whole, or in each class of column ``by``."""

    engine: Engine
    frame: Frame
    by: str | None
    quota: QuotaOf

    def run(self) -> Frame:
        """The frame with SPLIT."""
        rows, bounds = self._find()
        # Equal rows are numbered only where a split begins in the midst of some.
        inside = _any_skip(bounds)
        view = self.frame.view
        if inside:
            view = self.engine.view(
                f"SELECT *, row_number() OVER (PARTITION BY {self._class}, {HASH} ORDER BY {HASH}) "
                f"- 1 AS {_PLACE} FROM {view} AS r"
            )
        source, numbers = self._beside(
            view, {value: (a.hash, a.skip, b.hash, b.skip) for value, (a, b) in bounds.items()}
        )
        test, validation = (
            f"r.{HASH} < {hash}" + f" OR (r.{HASH} = {hash} AND r.{_PLACE} < {skip})" * inside
            for hash, skip in (numbers[:2], numbers[2:])
        )
        columns = ", ".join(f"r.{SPARK.ident(name)}" for name in self.frame.columns)
        divided = self.engine.view(
            f"SELECT {columns}, r.{HASH}, CAST(CASE WHEN {test} THEN {SPLIT_NUMBER['test']} "
            f"WHEN {validation} THEN {SPLIT_NUMBER['validation']} ELSE {SPLIT_NUMBER['train']} "
            f"END AS TINYINT) AS {SPLIT} FROM {source}"
        )
        frame = Frame(divided, self.frame.columns, Layout(rows))
        return self.engine.keep(frame) if inside else frame

    def _find(self) -> tuple[int, Bounds]:
        """The number of rows, and the bounds in each class."""
        # How many bits are affordable depends on the number of classes, which is not known yet.
        bits = 1 if self.by else _STEP
        counts = self._count(bits, f"{self.frame.view} AS r")
        totals = {value: sum(found.values()) for value, found in counts.items()}
        bounds: dict[Class, tuple[Bound, Bound]] = {None: (_END, _END)}
        for value, total in totals.items():
            quota = self.quota(total)
            bounds[value] = (
                _located(quota.test, counts[value], bits),
                _located(quota.test + quota.validation, counts[value], bits),
            )
        step = (_MOST_COUNTS // (2 * max(len(totals), 1))).bit_length() - 1
        step = max(1, min(step, _STEP))
        while bits < _ALL_BITS and _any_skip(bounds):
            more = min(bits + step, _ALL_BITS)
            source, (one, other) = self._beside(
                self.frame.view,
                {v: [b.hash >> (_ALL_BITS - bits) for b in pair] for v, pair in bounds.items()},
            )
            counts = self._count(more, f"{source} WHERE {_prefix(bits)} IN ({one}, {other})")
            bounds = {
                value: (
                    _refined(a, bits, counts.get(value, {}), more),
                    _refined(b, bits, counts.get(value, {}), more),
                )
                for value, (a, b) in bounds.items()
            }
            bits = more
        return sum(totals.values()), bounds

    @property
    def _class(self) -> str:
        return f"r.{SPARK.ident(self.by)}" if self.by else "CAST(NULL AS BOOLEAN)"

    def _count(self, bits: int, source: str) -> dict[Class, dict[int, int]]:
        """The rows of each class by the leading bits of their hash."""
        found: dict[Class, dict[int, int]] = {}
        for value, prefix, count in self.engine.rows(
            f"SELECT {self._class}, {_prefix(bits)}, count(*) FROM {source} GROUP BY 1, 2"
        ):
            found.setdefault(value, {})[prefix] = count
        return found

    def _beside(
        self, view: str, numbers: Mapping[Class, Sequence[int]]
    ) -> tuple[str, Sequence[str]]:
        """What FROM names to have the numbers of its class beside each row, and their SQL."""
        if self.by is None:
            return f"{view} AS r", [SPARK.literal(number, "bigint") for number in numbers[None]]
        names = [f"n{index}" for index in range(len(numbers[None]))]
        table = self.engine.table(
            {"class": self.frame.columns[self.by], **dict.fromkeys(names, "bigint")},
            [(value, *row) for value, row in numbers.items()],
        )
        source = f"{view} AS r JOIN {table} AS c ON {self._class} <=> c.class"
        return source, [f"c.{name}" for name in names]


def _prefix(bits: int) -> str:
    """The leading bits of a row's hash: signed, as the hash is."""
    return f"shiftright(r.{HASH}, {_ALL_BITS - bits})"


def _located(rank: int, counts: Mapping[int, int], bits: int) -> Bound:
    """The bound before the row of a rank from 0; ``counts``: the rows by their leading bits."""
    for prefix in sorted(counts):
        if rank < counts[prefix]:
            return Bound(prefix << (_ALL_BITS - bits), rank)
        rank -= counts[prefix]
    return _END


def _refined(bound: Bound, bits: int, counts: Mapping[int, int], more: int) -> Bound:
    """The bound that was found by its leading ``bits``, found by ``more``."""
    if not bound.skip:
        return bound
    prefix = bound.hash >> (_ALL_BITS - bits)
    same = {p: count for p, count in counts.items() if p >> (more - bits) == prefix}
    return _located(bound.skip, same, more)


def _any_skip(bounds: Bounds) -> bool:
    return any(bound.skip for pair in bounds.values() for bound in pair)
