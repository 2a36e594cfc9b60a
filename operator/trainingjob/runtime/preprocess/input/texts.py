"""What the texts of a column look like, and so which type it has: one rule for both engines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

import duckdb

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ..expressions.dialect import DATE, DOUBLE, Dialect
from ..expressions.duckdb_dialect import DUCKDB
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
NULL_TEXT = 4096  # a text that stands for null, and is not empty
DIGITS = CODES["bigint"] | ZEROS | BIG | LONG
NUMBERS = DIGITS | CODES["double"]
DATES = CODES["date"] | CODES["timestamp"]
ZEROS_ONLY = (ZEROS, ZEROS | CODES["bigint"])
# As pandas reads them: https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html
_PANDAS_NULLS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
# What may be a value of another type than text, unless it stands for null.
_TYPED = re.compile(r"[+-]?[.0-9].*|true|false|[+-]?inf(inity)?|nan", re.IGNORECASE)
_DAY = re.compile(f"{DATE}($|[T ][0-9])")
_INFINITE = "[+-]?inf(inity)?"
_LONG_WHOLE = "[+-]?[0-9]{16,}[.][0-9]+"


def is_day(text: str) -> bool:
    """Whether a text begins with a day that there is, as those of dates and timestamps do."""
    try:
        return _DAY.match(text) is not None and bool(date.fromisoformat(text[:10]))
    except ValueError:
        return False


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
        else f"WHEN {dialect.is_text_of(kind, value)} THEN {_code(dialect, kind, value)}"
        for kind in kinds
    )
    if "bigint" not in kinds and "double" in kinds:
        code = CODES["double"] | LONG
        tests = f"WHEN length({value}) > 15 AND {dialect.is_digits(value)} THEN {code} {tests}"
    # Numbers are most of what there is: the many texts for null are looked at after them.
    first = typed_nulls(options)
    last = [re.escape(text) for text in nulls(options) if text and text not in first]
    typed = f" WHEN {value} IN ({', '.join(map(dialect.text, first))}) THEN {NULL_TEXT}"
    # Not IN: DuckDB makes a join of that, which takes every row of each column.
    others = f" WHEN {dialect.matches(value, '|'.join(last))} THEN {NULL_TEXT}"
    return (
        f"CASE WHEN {value} IS NULL OR {value} = '' THEN 0{typed if first else ''} {tests}"
        f"{others if last else ''} WHEN lower({value}) = 'nan' THEN {NOT_FINITE} "
        f"WHEN {dialect.matches(f'lower({value})', _INFINITE)} THEN {INFINITE} ELSE {text} END"
    )


def _code(dialect: Dialect, kind: ColumnType, value: str) -> str:
    """The code of a text that is of a type: 1e400 is written as a double and is none."""
    code = CODES[kind]
    if kind != "double":
        return str(code)
    long = f"contains({value}, 'e') OR contains({value}, 'E') OR length({value}) > 308"
    beyond = f"({long}) AND {dialect.read('double', value)} IS NULL"
    whole = f"length({value}) > 17 AND {dialect.matches(value, _LONG_WHOLE)}"
    return (
        f"CASE WHEN {beyond} THEN {code | INFINITE} WHEN {whole} THEN {code | LONG} ELSE {code} END"
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
        trimmed = ", ".join(
            f"{plain_number(dialect, dialect.trimmed(name), options)} AS {name}" for name in columns
        )
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
    plain = plain_number(dialect, dialect.trimmed("v"), options)
    by_column = {
        place: others
        for place, *others in rows(
            f"SELECT i, bit_or(CASE h {branches} END), count(*), max(malformed) FROM "
            f"(SELECT i, {plain} AS v, {hint} AS h, malformed FROM "
            f"({melt(dialect, columns, source, ['malformed'])}) AS m) AS t GROUP BY i"
        )
    }
    _, number, malformed = by_column.get(0, (0, 0, False))
    return [by_column[place][0] for place in sorted(by_column)], number, bool(malformed)


def unlike(
    dialect: Dialect, columns: Sequence[str], options: CsvOptions, hints: Sequence[int]
) -> str:
    """SQL: the codes of these columns of a row that go beyond their hints, together; or 1."""

    def beyond(hint: int, column: str) -> str:
        value, more = column, ""
        if hint & ~(NUMBERS | NULL_TEXT | NOT_FINITE | INFINITE | CODES["string"]):
            value = dialect.trimmed(column)
        elif hint & CODES["double"]:
            # To cut blanks takes as long as to read the number. Those around a whole number are odd
            # by themselves, and around a double they hide only how many digits it has.
            more = (
                f" | CASE WHEN length({column}) > 15 AND contains({column}, ' ') THEN 1 ELSE 0 END"
            )
        code = code_of(dialect, plain_number(dialect, value, options), options, hint)
        return f"(({code}) & {~hint}{more})"

    pairs = list(zip(columns, hints, strict=True))
    if len(pairs) <= FEW:
        return " | ".join(beyond(hint, column) for column, hint in pairs)
    alike = {hint: [c for c, other in pairs if other == hint] for hint in dict.fromkeys(hints)}
    return " | ".join(
        f"list_bit_or({dialect.each(dialect.array(some), partial(beyond, hint), ())})"
        for hint, some in alike.items()
    )


def codes_of_sample(sample: list[list[str]], options: CsvOptions, width: int) -> list[int]:
    texts = [text.strip(" ") for record in sample for text in record]
    numbered = f"unnest(range(?)) % {width} AS i, unnest(CAST(? AS VARCHAR[])) AS t"
    plain = plain_number(DUCKDB, "t", options)
    with duckdb.connect() as db:
        found = db.execute(
            f"SELECT i, bit_or({code_of(DUCKDB, 'v', options, 0)}) FROM "
            f"(SELECT i, {plain} AS v FROM (SELECT {numbered})) GROUP BY i",
            [len(texts), texts],
        ).fetchall()
    codes = dict(found)
    return [codes.get(place, 0) for place in range(width)]


def is_mixed(code: int) -> bool:
    """Whether some values are numbers or dates, and others texts."""
    return bool(code & (NUMBERS | DATES) and code & CODES["string"])


def kind_of_codes(codes: int) -> ColumnType:
    """The narrowest type that holds every value seen, and all of it; text when there is none."""
    codes &= ~NULL_TEXT
    if codes in (CODES["boolean"], CODES["date"]):
        return "boolean" if codes == 1 else "date"
    if codes and not codes & ~DIGITS:
        return "string" if codes & (ZEROS | BIG) else "bigint"
    if codes and not codes & ~(NUMBERS | NOT_FINITE | INFINITE):
        return "double"
    if codes and not codes & ~(CODES["date"] | CODES["timestamp"]):
        return "timestamp"
    return "string"


def nulls(options: CsvOptions) -> tuple[str, ...]:
    """The texts that stand for null; blanks around a field do not count, so they cannot here."""
    if options.null_values is not None:
        given = options.null_values
    elif options.null_value is not None:
        given = [options.null_value]
    else:
        return _PANDAS_NULLS
    return tuple(dict.fromkeys(["", *(text.strip(" ") for text in given)]))


def null_texts(dialect: Dialect, options: CsvOptions) -> str:
    """The same as SQL."""
    return ", ".join(dialect.text(text) for text in nulls(options))


def typed_nulls(options: CsvOptions) -> list[str]:
    """Those that would be values of another type than text. Of pandas' own none is: no engine
    takes NaN or 1.#IND for a value."""
    texts = [text for text in nulls(options) if text not in _PANDAS_NULLS]
    return [text for text in texts if _TYPED.fullmatch(text)]


def number_pattern(options: CsvOptions) -> str:
    """A regular expression for the numbers of a file."""
    point, whole = re.escape(options.decimal or "."), "[0-9]+"
    if options.thousands:
        marks = "".join(re.escape(mark) for mark in _grouping(options))
        whole = f"([0-9]{{1,3}}([{marks}][0-9]{{2,3}})*[{marks}][0-9]{{3}}|[0-9]+)"
    return f"[+-]?({whole}({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?"


def plain_number(dialect: Dialect, value: str, options: CsvOptions) -> str:
    """SQL: a text with the number in it, if it is one, as 1234.5; one that is so written and is
    none by the options comes out as no number."""
    point = options.decimal or "."
    if point == "." and not options.thousands:
        return value
    plain = value
    for mark in _grouping(options):
        plain = f"replace({plain}, {dialect.text(mark)}, '')"
    if point != ".":
        plain = f"replace({plain}, {dialect.text(point)}, '.')"
    return (
        f"CASE WHEN {dialect.matches(value, number_pattern(options))} THEN {plain} "
        f"WHEN {dialect.matches(value, DOUBLE)} THEN {value} || ' ?' ELSE {value} END"
    )


def _grouping(options: CsvOptions) -> tuple[str, ...]:
    """What groups digits: of blanks, those that do not break lines as well."""
    if not options.thousands:
        return ()
    return (" ", "\u00a0", "\u202f") if options.thousands == " " else (options.thousands,)
