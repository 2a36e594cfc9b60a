"""What the values of a CSV look like, counted by the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..engines.frame import Engine
from .texts import (
    CODES,
    DATES,
    NULL_TEXT,
    NUMBERS,
    SUSPICIOUS,
    code_of,
    codes_of,
    is_mixed,
    null_texts,
    plain_number,
)

if TYPE_CHECKING:
    from .csv import Csv

# Columns of numbers and texts that are looked at closely.
_MOST_MIXED = 20


@dataclass(frozen=True)
class Mixed:
    """Of a column of numbers or dates, and other texts: how many of each, and the least and the
    greatest of the others."""

    numbers: int
    dates: int
    others: int
    least: str
    greatest: str


@dataclass(frozen=True)
class Tally:
    """What the values of each column look like, the number of rows, whether any row is
    suspicious: it has, or may have, a line break in a field."""

    codes: list[int]
    rows: int
    suspicious: bool
    mixed: dict[str, Mixed]
    # Columns of a type that is given: how many values do not fit, and the least of them.
    misfits: dict[str, tuple[int, str]]
    # Columns of text that have texts for null.
    nulls: list[str]

    @classmethod
    def of(cls, csv: Csv, codes: list[int]) -> Tally:
        """What the codes tell; rows and values are not counted."""
        nulls = [
            name
            for name, code in zip(csv.heads.names, codes, strict=True)
            if code & NULL_TEXT and code & CODES["string"] and name not in csv.wanted
        ]
        suspicious = any(code & SUSPICIOUS for code in codes)
        return cls([c & ~(SUSPICIOUS | NULL_TEXT) for c in codes], 0, suspicious, {}, {}, nulls)


def tally_of(engine: Engine, raw: str, csv: Csv, hints: list[int]) -> Tally:
    dialect, options = engine.dialect, csv.options
    names = [f"c{index}" for index in range(len(hints))]
    found, rows, malformed = codes_of(dialect, names, options, hints, raw, engine.rows)
    trimmed = ", ".join(
        f"{plain_number(dialect, dialect.trimmed(name), options)} AS {name}" for name in names
    )
    source = f"(SELECT {trimmed} FROM {raw}) AS t"
    tally = Tally.of(csv, [(code or 0) | hint for code, hint in zip(found, hints, strict=True)])
    mixed = [
        (f"c{index}", name)
        for index, (name, code) in enumerate(zip(csv.heads.names, tally.codes, strict=True))
        if is_mixed(code)
    ][:_MOST_MIXED]
    counts: list[str] = []
    for column, _ in mixed:
        code = f"({code_of(dialect, column, options, 0)})"
        start = dialect.substring(column, 1, 64)
        text = f"CASE WHEN {code} & {CODES['string']} <> 0 THEN {start} END"
        counts += [
            *(f"count(CASE WHEN {code} & {of} <> 0 THEN 1 END)" for of in (NUMBERS, DATES)),
            *(f"{function}({text})" for function in ("count", "min", "max")),
        ]
    given = [(f"c{csv.heads.names.index(name)}", one) for name, one in csv.wanted.items()]
    given = [(column, one) for column, one in given if one.kind != "string"]
    for column, one in given:
        given_nulls = null_texts(dialect, options)
        test = f"{column} NOT IN ({given_nulls}) AND NOT ({one.fits(dialect, column)})"
        start = dialect.substring(column, 1, 64)
        counts += [f"count(CASE WHEN {test} THEN 1 END)", f"min(CASE WHEN {test} THEN {start} END)"]
    values = engine.rows(f"SELECT {', '.join(counts)} FROM {source}")[0] if counts else ()
    misfits = values[5 * len(mixed) :]
    return replace(
        tally,
        rows=rows,
        suspicious=tally.suspicious or bool(malformed),
        mixed={name: Mixed(*values[5 * i : 5 * i + 5]) for i, (_, name) in enumerate(mixed)},
        misfits={
            csv.heads.names[int(column[1:])]: (count, value)
            for (column, _), count, value in zip(given, misfits[::2], misfits[1::2], strict=True)
            if count
        },
    )
