"""How DuckDB spells SQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from trainingjob.api.v1alpha1.input import ColumnType

from .dialect import CLOCK, DATE, DOUBLE, ZONE, Dialect, quote_with


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
        return f"({array})[{place + 1 if isinstance(place, int) else f'{place} + 1'}]"

    def to_json(self, value: str) -> str:
        return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"

    def length(self, array: str) -> str:
        return f"len({array})"

    def distinct(self, array: str) -> str:
        return f"list_distinct({array})"

    def exploded(self, array: str) -> str:
        return f"unnest({array})"

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
            written = rf"{DATE}[T ]{CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?{ZONE}"
            plain = (  # far enough from the first and the last year for any zone
                f"length({expr}) >= 19 AND {expr} BETWEEN '0002' AND '9999' "
                f"AND {self.matches(expr, written)} "
                f"AND try_cast(substring({expr}, 1, 10) AS DATE) IS NOT NULL"
            )
            value = self.parse_timestamp(expr)
        return f"CASE WHEN {plain} THEN {value} ELSE {rest} END"

    def trimmed(self, expr: str) -> str:
        # Without the blank, its trim cuts every white space of Unicode.
        return f"trim({expr}, ' ')"

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
            f"(coalesce(isfinite({value}), FALSE) OR "
            f"{value} IS NOT NULL AND {self.matches(expr, DOUBLE)})"
        )

    def double_to_text(self, expr: str) -> str:
        return f"java_double({expr})"

    def decimal_to_double(self, expr: str) -> str:
        # A cast divides two doubles, and is off by the last bit at times.
        return f"CAST(CAST({expr} AS VARCHAR) AS DOUBLE)"

    def decimal_to_text(self, expr: str, scale: int) -> str:
        return f"CAST({expr} AS VARCHAR)"

    def is_rounded(self, expr: str, precision: int, scale: int) -> str:
        # By its text: from a double to a decimal DuckDB goes by a multiplication, which rounds.
        again = f"CAST({self.decimal_to_double(expr)} AS VARCHAR)"
        return f"{expr} IS DISTINCT FROM try_cast({again} AS DECIMAL({precision}, {scale}))"

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

    def day_of_week(self, expr: str) -> str:
        return f"(isodow({expr}) - 1)"

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


DUCKDB = DuckDbDialect()
