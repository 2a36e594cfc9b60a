"""How the SQL of the two engines differs: quoting, literals, names, casts."""

from __future__ import annotations

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
DOUBLE = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
ZONE = "( UTC|Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?"
_TIMESTAMP = rf"{DATE}[T ]{CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?{ZONE}"


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
        """Its element, counted from 0; null where there is none."""

    @abstractmethod
    def to_json(self, value: str) -> str:
        """A value of any type as JSON; null of null."""

    @abstractmethod
    def length(self, array: str) -> str:
        """How many elements it has; null of null."""

    @abstractmethod
    def distinct(self, array: str) -> str:
        """Its elements, each once."""

    @abstractmethod
    def exploded(self, array: str) -> str:
        """Among the columns of a query: a row for each element."""

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
    def decimal_to_text(self, expr: str, scale: int) -> str:
        """All its digits, ``scale`` of them behind the point."""

    @abstractmethod
    def is_rounded(self, expr: str, precision: int, scale: int) -> str:
        """Whether the double nearest to a decimal is another number when it is written again."""

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
    def day_of_week(self, expr: str) -> str:
        """0 on Monday."""

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
                f"length({expr}) = 10 AND {self.matches(expr, DATE)} AND {expr} >= '0001' "
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

    def trimmed(self, expr: str) -> str:
        """A text without the blanks around it; other white space stays, as a text."""
        return f"trim({expr})"

    def read(self, kind: ColumnType, expr: str) -> str:
        """A text of the input to a type, when every text is known to be written as one
        (``is_text_of``), or is one of NaN and infinity."""
        if kind == "string":
            return expr
        trimmed = self.trimmed(expr)
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
