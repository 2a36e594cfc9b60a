"""How Spark spells SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from trainingjob.api.v1alpha1.input import ColumnType

from .dialect import Dialect, quote_with


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
        return f"get({array}, {place})"

    def to_json(self, value: str) -> str:
        return f"to_json({value})"

    def length(self, array: str) -> str:
        return f"array_size({array})"

    def distinct(self, array: str) -> str:
        return f"array_distinct({array})"

    def exploded(self, array: str) -> str:
        return f"explode({array})"

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

    def decimal_to_text(self, expr: str, scale: int) -> str:
        # A cast writes 0E-10 for zero.
        return f"replace(format_number({expr}, {scale}), ',', '')"

    def is_rounded(self, expr: str, precision: int, scale: int) -> str:
        again = f"try_cast(CAST({expr} AS DOUBLE) AS DECIMAL({precision}, {scale}))"
        return f"NOT ({expr} <=> {again})"

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

    def day_of_week(self, expr: str) -> str:
        return f"weekday({expr})"

    def epoch_micros(self, expr: str) -> str:
        return f"unix_micros({expr})"

    def from_epoch_micros(self, expr: str) -> str:
        return f"timestamp_micros({expr})"

    def epoch_seconds(self, expr: str) -> str:
        return f"CAST({expr} AS BIGINT)"

    def from_epoch_seconds(self, expr: str) -> str:
        return f"CASE WHEN {self._in_years(expr)} THEN CAST({expr} AS TIMESTAMP) END"

    def with_seconds(self, expr: str) -> str:
        return f"regexp_replace({expr}, '^(.{{16}})([Z+ -].*)$', '$1:00$2')"

    def from_zone(self, expr: str, zone: str) -> str:
        return f"to_utc_timestamp({expr}, {self.text(zone)})"


SPARK = SparkDialect()
