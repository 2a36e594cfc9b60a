"""What the texts of a column look like, and so which type it has: one rule for both engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ..expressions.dialect import DUCKDB, Dialect
from ..expressions.many import FEW, melt

# What the values of a text column look like, as bits that a single aggregation collects.
CODES: dict[ColumnType, int] = {
    "boolean": 1,
    "bigint": 2,
    "double": 4,
    "date": 8,
    "timestamp": 16,
    "string": 32,
}

NOT_FINITE = 64
SUSPICIOUS = 128

# Whole numbers: with leading zeros, beyond 64 bits, of more digits than a double surely holds.
ZEROS = 256
BIG = 512
LONG = 1024
INFINITE = 2048
DIGITS = CODES["bigint"] | ZEROS | BIG | LONG
NUMBERS = DIGITS | CODES["double"]
ZEROS_ONLY = (ZEROS, ZEROS | CODES["bigint"])
_INFINITE_TEXTS = "('inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity')"


def code_of(dialect: Dialect, value: str, options: CsvOptions, hint: int) -> str:
    """The code of a text. ``hint``: codes that the column is known to have, which spare tests:
    the type of a column with a fraction does not depend on which other numbers are whole."""
    text = (
        f"CASE WHEN {dialect.suspicious(value, options.quote)} "
        f"THEN {CODES['string'] | SUSPICIOUS} ELSE {CODES['string']} END"
    )
    if hint & CODES["string"]:
        return text
    kinds: list[ColumnType] = ["bigint", "double", "date", "timestamp", "boolean"]
    if hint & CODES["double"]:
        kinds.remove("bigint")
    elif hint & (CODES["date"] | CODES["timestamp"]):
        kinds = ["date", "timestamp"]
    tests = " ".join(
        _whole(dialect, value)
        if kind == "bigint"
        else f"WHEN {dialect.is_text_of(kind, value)} THEN {CODES[kind]}"
        for kind in kinds
    )
    if "bigint" not in kinds and "double" in kinds:
        code = CODES["double"] | LONG
        tests = f"WHEN length({value}) > 15 AND {dialect.is_digits(value)} THEN {code} {tests}"
    return (
        f"CASE WHEN {value} IS NULL OR {value} IN ({null_texts(dialect, options)}) THEN 0 {tests} "
        f"WHEN lower({value}) = 'nan' THEN {NOT_FINITE} "
        f"WHEN lower({value}) IN {_INFINITE_TEXTS} THEN {INFINITE} ELSE {text} END"
    )


def _whole(dialect: Dialect, value: str) -> str:
    """Branches for texts that are whole numbers."""
    bigint = CODES["bigint"]
    code = f"CASE WHEN length({value}) > 15 THEN {bigint | LONG} ELSE {bigint} END"
    return (
        f"WHEN {dialect.is_plain_bigint(value)} THEN {code} "
        f"WHEN {dialect.is_digits(value)} THEN CASE WHEN {dialect.has_leading_zero(value)} "
        f"THEN {ZEROS} WHEN try_cast({value} AS BIGINT) IS NOT NULL THEN {code} ELSE {BIG} END"
    )


def codes_of(
    dialect: Dialect,
    columns: Sequence[str],
    options: CsvOptions,
    hints: Sequence[int],
    source: str,
    rows: Callable[[str], list[tuple[Any, ...]]],
) -> tuple[list[int | None], int, bool]:
    """The codes of each of these columns of a source, its number of rows, and whether one of them
    is ``malformed``. ``rows`` runs a query."""
    if len(columns) <= FEW:
        trimmed = ", ".join(f"trim({name}) AS {name}" for name in columns)
        codes = ", ".join(
            f"bit_or({code_of(dialect, name, options, hint)})"
            for name, hint in zip(columns, hints, strict=True)
        )
        (row,) = rows(
            f"SELECT {codes}, count(*), max(malformed) FROM "
            f"(SELECT {trimmed}, malformed FROM {source}) AS t"
        )
        *found, number, malformed = row
        return found, number, bool(malformed)
    hint = dialect.item(dialect.array([str(hint) for hint in hints]), "i")
    branches = " ".join(
        f"WHEN {one} THEN {code_of(dialect, 'v', options, one)}" for one in dict.fromkeys(hints)
    )
    by_column = {
        place: others
        for place, *others in rows(
            f"SELECT i, bit_or(CASE h {branches} END), count(*), max(malformed) FROM "
            f"(SELECT i, trim(v) AS v, {hint} AS h, malformed FROM "
            f"({melt(dialect, columns, source, ['malformed'])}) AS m) AS t GROUP BY i"
        )
    }
    _, number, malformed = by_column.get(0, (0, 0, False))
    return [by_column[place][0] for place in sorted(by_column)], number, bool(malformed)


def codes_of_sample(sample: list[list[str]], options: CsvOptions, width: int) -> list[int]:
    texts = [text.strip(" ") for record in sample for text in record]
    numbered = f"unnest(range(?)) % {width} AS i, unnest(CAST(? AS VARCHAR[])) AS v"
    with duckdb.connect() as db:
        found = db.execute(
            f"SELECT i, bit_or({code_of(DUCKDB, 'v', options, 0)}) FROM (SELECT {numbered}) "
            "GROUP BY i",
            [len(texts), texts],
        ).fetchall()
    codes = dict(found)
    return [codes.get(place, 0) for place in range(width)]


def kind_of_codes(codes: int) -> ColumnType:
    """The narrowest type that holds every value seen, and all of it; text when there is none."""
    if codes in (CODES["boolean"], CODES["date"]):
        return "boolean" if codes == 1 else "date"
    if codes and not codes & ~DIGITS:
        return "string" if codes & (ZEROS | BIG) else "bigint"
    if codes and not codes & ~(NUMBERS | NOT_FINITE | INFINITE):
        return "double"
    if codes and not codes & ~(CODES["date"] | CODES["timestamp"]):
        return "timestamp"
    return "string"


def null_texts(dialect: Dialect, options: CsvOptions) -> str:
    # Blanks around a field do not count, so they cannot here.
    return ", ".join(sorted({"''", dialect.text(options.null_value.strip(" "))}))
