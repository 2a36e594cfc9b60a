"""Dates and timestamps written in some format, in Spark's letters, as SQL of both engines.

A format becomes a regular expression with a group for each field; what the groups hold is put
together as ISO 8601, which the engines read alike. So an engine's own parser, which is lenient in
its own way (``strptime`` takes 5 for 05), has no say. Spark's own is the tests' oracle:
https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from trainingjob.api.v1alpha1.input import ColumnType

from .dialect import Dialect

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SHORT = "".join(name[:3].lower() for name in _MONTHS)
_YEAR = "[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9]"

# Letters: which field they write, and how.
LETTERS: dict[str, tuple[str, str]] = {
    "yyyy": ("year", f"({_YEAR})"),
    "yy": ("short_year", "([0-9]{2})"),  # of 2000 to 2099
    "MM": ("month", "(0[1-9]|1[0-2])"),
    "M": ("month", "(0?[1-9]|1[0-2])"),
    "MMM": ("month_name", f"({'|'.join(name[:3] for name in _MONTHS)})"),
    "MMMM": ("month_name", f"({'|'.join(_MONTHS)})"),
    "dd": ("day", "([0-3][0-9])"),
    "d": ("day", "([0-3]?[0-9])"),
    "HH": ("hour", "([01][0-9]|2[0-3])"),
    "H": ("hour", "([01]?[0-9]|2[0-3])"),
    "hh": ("hour_of_twelve", "(0[1-9]|1[0-2])"),
    "h": ("hour_of_twelve", "(0?[1-9]|1[0-2])"),
    "a": ("half_of_day", "(AM|PM)"),
    "mm": ("minute", "([0-5][0-9])"),
    "m": ("minute", "([0-5]?[0-9])"),
    "ss": ("second", "([0-5][0-9])"),
    "s": ("second", "([0-5]?[0-9])"),
    **{"S" * n: ("fraction", f"([0-9]{{1,{n}}})") for n in range(1, 7)},
    "XXX": ("zone", "(Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"),
}
_PIECES = re.compile(r"'(?P<text>[^']*)'|(?P<letters>([A-Za-z])\3*)|(?P<sign>.)", re.DOTALL)


class BadFormat(ValueError):
    """What is wrong with a format."""


@dataclass(frozen=True)
class DateFormat:
    """A format: a regular expression, and the fields in the order of its groups."""

    text: str
    pattern: str
    fields: tuple[str, ...]

    @property
    def kind(self) -> ColumnType:
        """A timestamp where there is an hour."""
        return "timestamp" if {"hour", "hour_of_twelve"} & {*self.fields} else "date"

    def read(self, dialect: Dialect, expr: str, kind: ColumnType) -> str:
        """SQL: a text as a date or timestamp (UTC where it says no zone); null when it is not
        written so, or is no day: 31.02."""
        iso = self._iso(dialect, expr)
        is_date = self.kind == "date"
        value = f"try_cast({iso} AS DATE)" if is_date else dialect.parse_timestamp(iso)
        return value if self.kind == kind else f"CAST({value} AS {dialect.type_name(kind)})"

    def _iso(self, dialect: Dialect, expr: str) -> str:
        """SQL: the same as ``2024-03-05 07:05:00.5+01:00``; null when it is not written so."""
        pattern = dialect.text(rf"\A(?i:{self.pattern})\z")

        def group(field: str) -> str:
            return f"regexp_extract({expr}, {pattern}, {self.fields.index(field) + 1})"

        def number(field: str, default: str) -> str:
            return f"lpad({group(field)}, 2, '0')" if field in self.fields else f"'{default}'"

        year = group("year") if "year" in self.fields else f"'20' || {group('short_year')}"
        month = number("month", "01")
        if "month_name" in self.fields:
            place = f"instr('{_SHORT}', lower(substring({group('month_name')}, 1, 3)))"
            month = self._padded(dialect, f"({place} + 2) / 3")
        parts = [year, "'-'", month, "'-'", number("day", "01")]
        hour = number("hour", "00")
        if "hour_of_twelve" in self.fields:
            twelve = f"try_cast({group('hour_of_twelve')} AS INT)"
            after = f"CASE WHEN lower({group('half_of_day')}) = 'pm' THEN 12 ELSE 0 END"
            hour = self._padded(dialect, f"{twelve} % 12 + {after}")
        if self.kind == "timestamp":
            parts += ["' '", hour, "':'", number("minute", "00"), "':'", number("second", "00")]
            parts += ["'.'", group("fraction")] if "fraction" in self.fields else []
            parts += [f"upper({group('zone')})"] if "zone" in self.fields else []
        matches = f"{dialect.regexp_like}({expr}, {pattern})"
        return f"CASE WHEN {matches} THEN {' || '.join(f'({part})' for part in parts)} END"

    @staticmethod
    def _padded(dialect: Dialect, number: str) -> str:
        text = dialect.type_name("string")
        return f"lpad(CAST(CAST(floor({number}) AS INT) AS {text}), 2, '0')"


def date_format(text: str) -> DateFormat:
    """Read a format; raises BadFormat with words such as ``the letters EEE``."""
    pattern, fields = "", []
    for piece in _PIECES.finditer(text):
        letters = piece["letters"]
        if letters is None:
            plain = "'" if piece["text"] == "" else piece["text"] or piece["sign"]
            if piece["sign"] == "'":
                raise BadFormat(f"a quote that is not closed in {text}")
            pattern += re.escape(plain)
            continue
        if letters not in LETTERS:
            raise BadFormat(f"the letters {letters} in {text}; known are {' '.join(LETTERS)}")
        field, written = LETTERS[letters]
        if field in fields:
            raise BadFormat(f"the {field.replace('_', ' ')} twice in {text}")
        fields.append(field)
        pattern += written
    if ("hour_of_twelve" in fields) != ("half_of_day" in fields):
        raise BadFormat(f"hours of twelve (h) and AM or PM (a) go together, unlike in {text}")
    if not {"year", "short_year"} & {*fields}:
        raise BadFormat(f"no year in {text}")
    return DateFormat(text, pattern, tuple(fields))


# How files often write days, and the time behind them. Of two forms of the same texts the first
# asks for more: two digits.
_DAYS = (
    *(
        form.replace("-", sign)
        for sign in "/.-"
        for form in (
            *("dd-MM-yyyy", "MM-dd-yyyy", "d-M-yyyy", "M-d-yyyy"),
            *("dd-MM-yy", "MM-dd-yy", "d-M-yy", "M-d-yy"),
        )
    ),
    *("yyyy/MM/dd", "yyyy/M/d", "yyyy.MM.dd", "yyyy.M.d"),
    *("d-MMM-yyyy", "d-MMM-yy", "d MMM yyyy", "d MMM yy", "d MMMM yyyy", "d. MMMM yyyy"),
    *("ddMMMyyyy", "dMMMyyyy", "ddMMMyy"),  # as SAS writes them
    *("MMM d, yyyy", "MMMM d, yyyy", "MMM d yyyy", "MMMM d yyyy"),
)
_TIMES = ("", " HH:mm", " HH:mm:ss", " H:mm", " H:mm:ss", " h:mm a", " h:mm:ss a")
_DIGITS = {*"0123456789"}
_MONTHS_ALONE = ("yyyy-MM", "yyyy/MM", "MM/yyyy", "MMM-yy", "MMM yyyy", "MMMM yyyy")


@cache
def _usual() -> list[tuple[str, set[str]]]:
    """The forms, and the signs that texts written so have."""
    forms = [day + time for day, time in itertools.product(_DAYS, _TIMES)] + [*_MONTHS_ALONE]
    return [(form, {sign for sign in form if not sign.isalpha()}) for form in forms]


@cache
def _pattern(form: str) -> re.Pattern[str]:
    return re.compile(date_format(form).pattern, re.IGNORECASE)


def formats_of(texts: Sequence[str]) -> list[str]:
    """The usual formats that all of these texts are written in: none, one, or two if any of the
    first two numbers may be the day's."""
    first = {*texts[0]} if texts else set()
    # To make all patterns takes longer than to read a small file.
    forms = [form for form, signs in _usual() if signs <= first] if first & _DIGITS else []
    found: dict[str, str] = {}
    for form in forms:
        if all(map(_pattern(form).fullmatch, texts)):
            found.setdefault(re.sub(r"(\w)\1*", r"\1", form), form)
    return [*found.values()][:2]
