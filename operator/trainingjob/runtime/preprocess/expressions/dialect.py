"""How the SQL of the two engines differs: quoting, literals, names, casts."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import date, datetime

from trainingjob.api.v1alpha1.input import ColumnType

Value = bool | int | float | str | date | datetime

LARGEST_DOUBLE = 1.7976931348623157e308

# What text must look like to be read as a value of another type, after blanks around it are cut.
# Days and months are checked by the cast itself.
_INTEGER = r"[+-]?[0-9]+"
_ZEROS = r"[+-]?0[0-9]+"
_DOUBLE = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_ZONE = "(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?"
_TIMESTAMP = rf"{_DATE}[T ]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?{_ZONE}"


class Dialect(ABC):
    """SQL text for one engine.

    Every double that the engines hold is a finite number or null, and never -0.0: the one rule
    that keeps comparisons, hashes and statistics the same in both (see ``finite``).
    """

    name: str
    regexp_like: str  # name of the function: whether a part of a text matches
    regexp_global: str  # last argument of regexp_replace: every match

    @abstractmethod
    def substring(self, expr: str, start: int, length: int | None) -> str:
        """Spark's: from 1, 0 being the same as 1, negative from the end."""

    @abstractmethod
    def ident(self, name: str) -> str:
        """A column or view name."""

    @abstractmethod
    def text(self, value: str) -> str:
        """A string literal."""

    @abstractmethod
    def array(self, values: Sequence[str]) -> str:
        """An array of values of one type."""

    @abstractmethod
    def doubles(self, values: Sequence[float]) -> str:
        """An array of doubles as a literal."""

    @abstractmethod
    def item(self, array: str, place: int | str) -> str:
        """Its element, counted from 0."""

    @abstractmethod
    def each(self, array: str, write: Callable[..., str], others: Sequence[str]) -> str:
        """The array of what ``write`` makes of each element and of those of others beside it."""

    @abstractmethod
    def unnested(self, source: str, width: int, also: str) -> str:
        """A query for a row (i, v, …) of each element of the array ``l`` of a source, i from 0."""

    @abstractmethod
    def parse(self, kind: ColumnType, expr: str, *, strict: bool = False) -> str:
        """A text to a type as Spark's CAST has it: ``yes`` is true, ``1.5`` as a bigint is 1, and
        what it does not take is null. ``strict``: as Spark's TRY_CAST, where 1.5 is no bigint."""

    @abstractmethod
    def lower(self, expr: str) -> str:
        """A text in lower case."""

    @abstractmethod
    def double(self, value: float) -> str:
        """A double literal."""

    @abstractmethod
    def matches(self, expr: str, pattern: str) -> str:
        """Whether the whole of a text matches a regular expression (the part of the syntax that
        RE2 and Java share)."""

    @abstractmethod
    def type_name(self, kind: ColumnType) -> str:
        """The engine's name of a type."""

    @abstractmethod
    def parse_timestamp(self, expr: str) -> str:
        """A checked text to a timestamp."""

    @abstractmethod
    def looks_double(self, expr: str) -> str:
        """Whether a text is one that the engine can cast, and is written as a decimal number."""

    @abstractmethod
    def double_to_text(self, expr: str) -> str:
        """Java's Double.toString: 1.0, 0.001, 1.0E10. (Java before 19 prints a needless 18th digit
        for a few numbers above 2**53.)"""

    @abstractmethod
    def checked(self, operator: str, left: str, right: str) -> str:
        """``+``, ``-`` or ``*`` of bigints; null when it overflows."""

    @abstractmethod
    def whole_division(self, left: str, right: str) -> str:
        """Bigints divided, towards zero; null for a divisor of 0."""

    @abstractmethod
    def remainder(self, left: str, right: str) -> str:
        """What division leaves, with the sign of ``left``; ``right`` is not 0."""

    @abstractmethod
    def decimal_to_double(self, expr: str) -> str:
        """The double nearest to a decimal."""

    @abstractmethod
    def from_nanoseconds(self, expr: str) -> str:
        """A timestamp of nanoseconds, as the engine reads it from parquet, cut to microseconds."""

    @abstractmethod
    def has_nanoseconds(self, expr: str) -> str:
        """Whether that cuts anything off."""

    @abstractmethod
    def suspicious(self, expr: str, quote: str) -> str:
        """Whether a field has a line break, or may be the first half of one that has, or was not
        UTF-8, where the engine does not fail then."""

    @abstractmethod
    def epoch_seconds(self, expr: str) -> str:
        """Seconds from 1970 to a timestamp, as a bigint, rounded down."""

    @abstractmethod
    def epoch_micros(self, expr: str) -> str:
        """Microseconds from 1970 to a timestamp."""

    @abstractmethod
    def from_epoch_micros(self, expr: str) -> str:
        """A timestamp so many microseconds after 1970."""

    @abstractmethod
    def from_epoch_seconds(self, expr: str) -> str:
        """A timestamp so many seconds (double) after 1970; null when out of range."""

    def with_seconds(self, expr: str) -> str:
        """The text of a timestamp with seconds before its zone, where the engine asks for them."""
        return expr

    @abstractmethod
    def from_zone(self, expr: str, zone: str) -> str:
        """A timestamp of a zone's clocks as UTC. Of a time that the clocks show twice it is the
        first; one that they leave out counts from before."""

    def _in_years(self, seconds: str) -> str:
        """Whether a time lies in the years 1 to 9999."""
        return f"{seconds} >= -62135596800 AND {seconds} < 253402300800"

    def literal(self, value: Value | None, kind: ColumnType) -> str:
        """A literal of a type."""
        if value is None:
            return f"CAST(NULL AS {self.type_name(kind)})"
        if kind == "double":
            return self.double(float(value))  # type: ignore[arg-type]
        if kind == "string":
            return self.text(str(value))
        if kind == "boolean":
            return "TRUE" if value else "FALSE"
        if kind == "bigint":
            # The smallest bigint has no literal: its digits alone are one too large.
            return f"CAST({self.text(str(int(value)))} AS BIGINT)"  # type: ignore[arg-type]
        return f"CAST({self.text(str(value))} AS {self.type_name(kind)})"

    def finite(self, expr: str) -> str:
        """NaN and infinities to null, -0.0 to 0.0."""
        return (
            f"CASE WHEN abs({expr}) <= {self.double(LARGEST_DOUBLE)} "
            f"THEN {expr} + {self.double(0.0)} END"
        )

    def is_text_of(self, kind: ColumnType, expr: str) -> str:
        """Whether a text, blanks around it cut, is written as a value of a type."""
        if kind == "boolean":
            return f"lower({expr}) IN ('true', 'false')"
        if kind == "bigint":
            number = f"try_cast({expr} AS BIGINT) IS NOT NULL"
            return f"{number} AND ({self.is_plain_bigint(expr)} OR {self.is_digits(expr)})"
        if kind == "double":
            return self.looks_double(expr)
        if kind == "date":
            return (
                f"length({expr}) = 10 AND {self.matches(expr, _DATE)} AND {expr} >= '0001' "
                f"AND try_cast({expr} AS DATE) IS NOT NULL"
            )
        if kind == "timestamp":
            return (
                f"length({expr}) >= 16 AND {self.matches(expr, _TIMESTAMP)} AND {expr} >= '0001' "
                f"AND try_cast(substring({expr}, 1, 10) AS DATE) IS NOT NULL"
            )
        return "TRUE"

    def is_plain_bigint(self, expr: str) -> str:
        """Whether a text is a bigint as it would be written again: faster to test than a regular
        expression, and true of nearly all numbers; the rest is like 007 or +1."""
        return f"CAST(try_cast({expr} AS BIGINT) AS {self.type_name('string')}) = {expr}"

    def is_digits(self, expr: str) -> str:
        """Whether a text is a whole number of any length."""
        return f"(NOT contains({expr}, '.') AND {self.matches(expr, _INTEGER)})"

    def has_leading_zero(self, expr: str) -> str:
        """Whether a whole number begins with a zero that does not count."""
        return self.matches(expr, _ZEROS)

    def read(self, kind: ColumnType, expr: str) -> str:
        """A text of the input to a type, when every text is known to be written as one
        (``is_text_of``), or is one of NaN and infinity."""
        if kind == "string":
            return expr
        trimmed = f"trim({expr})"
        if kind == "boolean":
            return f"CASE lower({trimmed}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
        if kind == "timestamp":
            day, moment = self.is_text_of("date", trimmed), self.is_text_of("timestamp", trimmed)
            return self.parse_timestamp(
                f"CASE WHEN {day} THEN {trimmed} || ' 00:00' "
                f"WHEN {moment} THEN {self.with_seconds(trimmed)} END"
            )
        # Both engines skip blanks when they cast to a number or a date.
        value = f"try_cast({expr} AS {self.type_name(kind)})"
        return self.finite(value) if kind == "double" else value

    def cast(
        self, expr: str, source: ColumnType, target: ColumnType, *, strict: bool = False
    ) -> str:
        """A value of one type as another; null when it does not fit. ``strict`` as in ``parse``."""
        if source == target:
            return expr
        if source == "string":
            return self.parse(target, expr, strict=strict)
        if target == "string":
            if source == "double":
                return self.double_to_text(expr)
            return f"CAST({expr} AS {self.type_name('string')})"
        pair = (source, target)
        if pair in (("boolean", "bigint"), ("bigint", "double"), ("date", "timestamp")):
            return f"CAST({expr} AS {self.type_name(target)})"
        if pair == ("boolean", "double"):
            return f"CAST(CAST({expr} AS BIGINT) AS DOUBLE)"
        if target == "boolean" and source in ("bigint", "double"):
            return f"({expr} <> 0)"
        if pair == ("double", "bigint"):
            limit = self.double(2.0**63)
            whole = f"CASE WHEN {expr} < 0 THEN ceil({expr}) ELSE floor({expr}) END"
            fits = f"{expr} >= -{limit} AND {expr} < {limit}"
            return f"CASE WHEN {fits} THEN CAST({whole} AS BIGINT) END"
        if pair == ("timestamp", "date"):
            return f"CAST({expr} AS DATE)"
        if pair == ("timestamp", "bigint"):
            return self.epoch_seconds(expr)
        if pair == ("timestamp", "double"):
            return f"(CAST({self.epoch_micros(expr)} AS DOUBLE) / {self.double(1e6)})"
        if pair == ("timestamp", "boolean"):
            return f"({self.epoch_micros(expr)} <> 0)"
        if pair == ("boolean", "timestamp"):
            return self.from_epoch_micros(f"CAST({expr} AS BIGINT)")
        if pair in (("bigint", "timestamp"), ("double", "timestamp")):
            return self.from_epoch_seconds(expr)
        # No meaning: a boolean as a date, a date as a number.
        return f"CAST(NULL AS {self.type_name(target)})"


def has_meaning(source: ColumnType, target: ColumnType) -> bool:
    """Whether a type can be cast to another: a date is no number, and no number is a date."""
    neither = ("boolean", "bigint", "double")
    return not (
        (source == "date" and target in neither) or (source in neither and target == "date")
    )


def quote_with(mark: str, name: str) -> str:
    """An identifier between marks, marks inside it doubled: the one place that does so."""
    return mark + name.replace(mark, mark * 2) + mark


class DuckDbDialect(Dialect):
    """DuckDB. Timestamps are naive there and mean UTC; the file says so again."""

    name = "pandas"
    regexp_like = "regexp_matches"
    regexp_global = ", 'g'"

    def finite(self, expr: str) -> str:
        # Not a comparison: DuckDB decides those by a file's statistics, which leave out NaN.
        return f"CASE WHEN isfinite({expr}) THEN {expr} + {self.double(0.0)} END"

    def substring(self, expr: str, start: int, length: int | None) -> str:
        if length is not None and length <= 0:
            return f"left({expr}, 0)"
        if start >= 0:
            return f"substring({expr}, {max(start, 1)}{'' if length is None else f', {length}'})"
        first = f"length({expr}) - {-start}"
        if length is None:
            return f"substring({expr}, greatest({first}, 0) + 1)"
        return (
            f"substring({expr}, greatest({first}, 0) + 1, "
            f"greatest({first} + {length}, 0) - greatest({first}, 0))"
        )

    def ident(self, name: str) -> str:
        return quote_with('"', name)

    def text(self, value: str) -> str:
        return quote_with("'", value)

    def array(self, values: Sequence[str]) -> str:
        return f"[{', '.join(values)}]"

    def doubles(self, values: Sequence[float]) -> str:
        # As one literal: thousands take their time.
        return f"CAST('{list(values)!r}' AS DOUBLE[])"

    def item(self, array: str, place: int | str) -> str:
        return f"{array}[{place + 1 if isinstance(place, int) else f'{place} + 1'}]"

    def each(self, array: str, write: Callable[..., str], others: Sequence[str]) -> str:
        return f"list_transform({array}, lambda v, i: {write('v', *(f'{o}[i]' for o in others))})"

    def unnested(self, source: str, width: int, also: str) -> str:
        return f"SELECT unnest(range({width})) AS i, unnest(l) AS v{also} FROM {source}"

    def lower(self, expr: str) -> str:
        return f"java_lower({expr})"

    def parse(self, kind: ColumnType, expr: str, *, strict: bool = False) -> str:
        if kind == "string":
            return expr
        # What is written plainly is read by DuckDB, the rest at some expense.
        value = f"try_cast({expr} AS {self.type_name(kind)})"
        rest = f"java_read_{kind}({expr})"
        if kind == "boolean":
            return (
                f"CASE lower({expr}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE ELSE {rest} END"
            )
        if kind == "bigint":
            if strict:
                rest = f"java_read_strict_bigint({expr})"
            # Formatting the number again is faster than a regular expression.
            return f"CASE WHEN CAST({value} AS VARCHAR) = {expr} THEN {value} ELSE {rest} END"
        if kind == "double":
            plain = f"isfinite({value}) AND {self._no_number_of_duckdb(expr)}"
            value = f"{value} + {self.double(0.0)}"
        elif kind == "date":
            plain = self.is_text_of("date", expr)
        else:
            written = rf"{_DATE}[T ]{_CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?{_ZONE}"
            plain = (  # far enough from the first and the last year for any zone
                f"length({expr}) >= 19 AND {expr} BETWEEN '0002' AND '9999' "
                f"AND {self.matches(expr, written)} "
                f"AND try_cast(substring({expr}, 1, 10) AS DATE) IS NOT NULL"
            )
            value = self.parse_timestamp(expr)
        return f"CASE WHEN {plain} THEN {value} ELSE {rest} END"

    def double(self, value: float) -> str:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number")
        return f"CAST('{value!r}' AS DOUBLE)"

    def matches(self, expr: str, pattern: str) -> str:
        return f"regexp_full_match({expr}, {self.text(pattern)}, 's')"

    def type_name(self, kind: ColumnType) -> str:
        return "VARCHAR" if kind == "string" else kind.upper()

    def parse_timestamp(self, expr: str) -> str:
        # Naive timestamps ignore an offset in the text; the session's time zone is UTC.
        return f"CAST(try_cast({expr} AS TIMESTAMPTZ) AS TIMESTAMP)"

    def _no_number_of_duckdb(self, expr: str) -> str:
        """Whether a text is not like 1_000 or +-1, which are numbers to DuckDB alone."""
        return f"NOT contains({expr}, '_') AND NOT contains({expr}, '+-')"

    def looks_double(self, expr: str) -> str:
        # DuckDB also takes inf and nan; 1e999 is inf as well. Nearly all are decided by one cast.
        value = f"try_cast({expr} AS DOUBLE)"
        return (
            f"{self._no_number_of_duckdb(expr)} AND "
            f"(isfinite({value}) OR {value} IS NOT NULL AND {self.matches(expr, _DOUBLE)})"
        )

    def double_to_text(self, expr: str) -> str:
        return f"java_double({expr})"

    def decimal_to_double(self, expr: str) -> str:
        # A cast divides two doubles, and is off by the last bit at times.
        return f"CAST(CAST({expr} AS VARCHAR) AS DOUBLE)"

    def from_nanoseconds(self, expr: str) -> str:
        nanos = f"epoch_ns({expr})"
        return f"make_timestamp(({nanos} - ({nanos} % 1000 + 1000) % 1000) // 1000)"

    def has_nanoseconds(self, expr: str) -> str:
        return f"epoch_ns({expr}) % 1000 <> 0"

    def suspicious(self, expr: str, quote: str) -> str:
        return f"(contains({expr}, chr(10)) OR contains({expr}, chr(13)))"

    def checked(self, operator: str, left: str, right: str) -> str:
        return f"TRY({left} {operator} {right})"

    def whole_division(self, left: str, right: str) -> str:
        return f"TRY({left} // nullif({right}, 0))"

    def remainder(self, left: str, right: str) -> str:
        return f"TRY({left} % {right})"

    def epoch_micros(self, expr: str) -> str:
        return f"epoch_us({expr})"

    def from_epoch_micros(self, expr: str) -> str:
        return f"make_timestamp({expr})"

    def epoch_seconds(self, expr: str) -> str:
        micros = f"epoch_us({expr})"
        return f"(({micros} - ({micros} % 1000000 + 1000000) % 1000000) // 1000000)"

    def from_epoch_seconds(self, expr: str) -> str:
        micros = f"CAST(trunc({expr} * 1000000) AS BIGINT)"
        return f"CASE WHEN {self._in_years(expr)} THEN make_timestamp({micros}) END"

    def from_zone(self, expr: str, zone: str) -> str:
        name = self.text(zone)
        utc = f"CAST(timezone({name}, {expr}) AS TIMESTAMP)"
        # ICU takes the second of two. Clocks are put back an hour, on Lord Howe half of one.
        earlier = [f"{utc} - INTERVAL {minutes} MINUTE" for minutes in (60, 30)]
        shows = [f"timezone({name}, CAST({one} AS TIMESTAMPTZ)) = {expr}" for one in earlier]
        cases = " ".join(f"WHEN {a} THEN {b}" for a, b in zip(shows, earlier, strict=True))
        return f"CASE {cases} ELSE {utc} END"


class SparkDialect(Dialect):
    """Spark SQL with ANSI mode off, session time zone UTC."""

    name = "spark"
    regexp_like = "rlike"
    regexp_global = ""

    def substring(self, expr: str, start: int, length: int | None) -> str:
        return f"substring({expr}, {start}{'' if length is None else f', {length}'})"

    def ident(self, name: str) -> str:
        return quote_with("`", name)

    def text(self, value: str) -> str:
        return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"

    def array(self, values: Sequence[str]) -> str:
        return f"array({', '.join(values)})"

    def doubles(self, values: Sequence[float]) -> str:
        return self.array([self.double(value) for value in values])

    def item(self, array: str, place: int | str) -> str:
        return f"{array}[{place}]"

    def each(self, array: str, write: Callable[..., str], others: Sequence[str]) -> str:
        return f"transform({array}, (v, i) -> {write('v', *(f'{o}[i]' for o in others))})"

    def unnested(self, source: str, width: int, also: str) -> str:
        return f"SELECT i, v{also} FROM {source} LATERAL VIEW posexplode(l) AS i, v"

    def lower(self, expr: str) -> str:
        return f"lower({expr})"

    def parse(self, kind: ColumnType, expr: str, *, strict: bool = False) -> str:
        value = f"{'try_cast' if strict else 'CAST'}({expr} AS {self.type_name(kind)})"
        if kind == "double":
            return self.finite(value)
        if kind == "date":
            years = f"{value} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'"
            return f"CASE WHEN {years} THEN {value} END"
        if kind == "timestamp":
            # A time without a date would be one of today.
            dated = f"rlike({expr}, '^[\\\\x00-\\\\x20\\\\x7f]*[+-]?[0-9]{{4}}')"
            years = self._in_years(self.epoch_seconds(value))
            return f"CASE WHEN {dated} AND {years} THEN {value} END"
        return value

    def double(self, value: float) -> str:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number")
        return f"{value!r}D" if value >= 0 else f"({value!r}D)"

    def matches(self, expr: str, pattern: str) -> str:
        whole = rf"(?s)\A(?:{pattern})\z"
        return f"rlike({expr}, {self.text(whole)})"

    def type_name(self, kind: ColumnType) -> str:
        return kind.upper()

    def parse_timestamp(self, expr: str) -> str:
        return f"try_cast({expr} AS TIMESTAMP)"

    def looks_double(self, expr: str) -> str:
        # Java also takes 1.5f, 1d, 0x1p3, NaN, Infinity and control characters around it.
        return (
            f"try_cast({expr} AS DOUBLE) IS NOT NULL AND "
            f"substring({expr}, -1, 1) BETWEEN '.' AND '9' AND substring({expr}, 1, 1) "
            f"BETWEEN '+' AND '9' AND NOT contains(lower({expr}), 'x')"
        )

    def double_to_text(self, expr: str) -> str:
        return f"CAST({expr} AS STRING)"

    def decimal_to_double(self, expr: str) -> str:
        return f"CAST({expr} AS DOUBLE)"

    def from_nanoseconds(self, expr: str) -> str:
        return f"timestamp_micros(({expr} - pmod({expr}, 1000L)) div 1000L)"

    def has_nanoseconds(self, expr: str) -> str:
        return f"{expr} % 1000L <> 0"

    def suspicious(self, expr: str, quote: str) -> str:
        return f"(startswith({expr}, {self.text(quote)}) OR contains({expr}, '\ufffd'))"

    def checked(self, operator: str, left: str, right: str) -> str:
        function = {"+": "try_add", "-": "try_subtract", "*": "try_multiply"}[operator]
        return f"{function}({left}, {right})"

    def whole_division(self, left: str, right: str) -> str:
        # The smallest bigint divided by -1 is one too large.
        return f"CASE WHEN {right} = -1 THEN try_subtract(0L, {left}) ELSE {left} div {right} END"

    def remainder(self, left: str, right: str) -> str:
        return f"({left} % {right})"

    def epoch_micros(self, expr: str) -> str:
        return f"unix_micros({expr})"

    def from_epoch_micros(self, expr: str) -> str:
        return f"timestamp_micros({expr})"

    def epoch_seconds(self, expr: str) -> str:
        return f"CAST({expr} AS BIGINT)"

    def from_epoch_seconds(self, expr: str) -> str:
        return f"CASE WHEN {self._in_years(expr)} THEN CAST({expr} AS TIMESTAMP) END"

    def with_seconds(self, expr: str) -> str:
        return f"regexp_replace({expr}, '^(.{{16}})([Z+-].*)$', '$1:00$2')"

    def from_zone(self, expr: str, zone: str) -> str:
        return f"to_utc_timestamp({expr}, {self.text(zone)})"


DUCKDB = DuckDbDialect()
SPARK = SparkDialect()
