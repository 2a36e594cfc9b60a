"""The table of Spark SQL expressions that tests go through, and the values that they are run over."""

from __future__ import annotations

import datetime
import itertools
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.preprocess import ColumnType

COLUMNS: dict[str, ColumnType] = {
    **dict.fromkeys("nij", "bigint"),
    **dict.fromkeys("xy", "double"),
    **dict.fromkeys("st", "string"),
    **dict.fromkeys("bf", "boolean"),
    **dict.fromkeys("de", "date"),
    "m": "timestamp",
}

LONGS = [
    None,
    0,
    1,
    -1,
    2,
    3,
    7,
    -7,
    10,
    31,
    100,
    365,
    2**31,
    -(2**31),
    2**53 + 1,
    2**63 - 1,
    -(2**63),
]
DOUBLES = [
    None, 0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 2.675, 1.005, 0.1, 0.3, 1e-3, 1e-5, 1e7, 123456.789,
    -0.29, -0.2929, 0.4142, 0.41422, 1e-9, 1e-20, 1e-300, 5e-324, 1e15, 1e16, 2.0**53, 9.2e18, 1e19, 1e22,
    1e100, 1.7e308, -1.7e308, 709.7, 710.0, -745.2, -708.5, 3.141592653589793, 2.718281828459045,
]  # fmt: skip
TEXTS = [
    None, "", " ", "a", "A", "abc", "ABC", "Straße", "ſ", "İstanbul", "ΑΣ", "ǆ", "日本語", "🙂🙃", "é",
    "e\u0301", " padded ", "\ttab", "new\nline", "a'b", 'a"b', "back\\slash", "100%", "a_b", "axb", "hello world",
    "1", "007", "+5", "-3", "1.5", "1e3", ".5", "5.", "1_000", "1.5f", "0x1p3", "NaN", "inf", "-Infinity", "1e400",
    "9223372036854775807", "9223372036854775808", " 42 ", "true", "FALSE", "yes", "t", "1 2", "١",
    "2020-02-29", "2021-02-29", "2020-2-9", "0000-01-01", "9999-12-31", "2020-01-01 10:20:30",
    "2020-01-01T10:20:30.123456", "2020-01-01T10:20:30.1234567", "2020-01-01 10:20", "2020-01-01 24:00:00",
    "2020-01-01T10:20:30Z", "2020-01-01T10:20:30+05:30", "2020-01-01 10:20:30 UTC", "20200101", "epoch", "now",
]  # fmt: skip
DATES = [
    None, *(datetime.date.fromisoformat(text) for text in (
        "1970-01-01", "1969-12-31", "2020-02-29", "2019-12-30", "2021-01-03", "2024-12-31", "0001-01-01",
        "1582-10-04", "1582-10-15", "9999-12-31", "2000-03-01", "1900-02-28",
    ))
]  # fmt: skip
MOMENTS = [
    None, *(datetime.datetime.fromisoformat(text) for text in (
        "1970-01-01T00:00:00", "1969-12-31T23:59:59.999999", "2020-02-29T12:34:56.789012",
        "2021-03-28T01:30:00", "2020-01-01T00:00:00.500000", "1582-10-10T10:10:10", "0001-01-01T00:00:00",
        "9999-12-31T23:59:59", "2022-10-30T02:30:00.000001",
    ))
]  # fmt: skip

EXPRESSIONS = [
    # arithmetic
    "i + j", "i - j", "i * j", "i / j", "i % j", "i div j", "-i", "+i", "i + 1", "2 * i", "i + x", "x + y", "x - y", "x * y",
    "x / y", "x % y", "x / 0", "i / 0", "i % 0", "i div 0", "1 / 3", "0.1 + 0.2", "x * 0.1", "i * 1.5", "2147483647 + 1",
    "9223372036854775807 + 1", "-x", "mod(i, 3)", "mod(x, 0.7)", "i + null", "5 div 2", "-7 div 2", "-7 % 3", "(i + 1) * 2",
    # comparisons
    "i = j", "i <> j", "i != j", "i < x", "x <= y", "x > 1", "i >= 2", "i <=> j", "x <=> y", "i is distinct from j", "s = t",
    "s < t", "s = 'abc'", "i = '7'", "x > '1.5'", "d > '2000-01-01'", "d = m", "m >= '2020-01-01 00:00:00'", "d between '1970-01-01' and '2020-12-31'",
    "b = true", "b = 1", "b <> f", "i = null", "i in (1, 2, 3)", "s in ('a', 'b')", "i not in (1, 2)", "i in (1, null)",
    "x between 0 and 1", "i not between 0 and 5", "i == j", "d < e", "d in ('2020-02-29')", "i = x", "i = true",
    # logic
    "b and f", "b or f", "not b", "!b", "b and null", "b or null", "i is null", "i is not null", "b is true", "b is not true",
    "isnull(s)", "isnotnull(s)", "isnan(x)", "isnan(sqrt(x))",
    # choices
    "case when i > 0 then 'positive' when i < 0 then 'negative' else 'zero' end", "case i when 1 then 'one' when 2 then 'two' end",
    "case when b then i else x end", "if(b, i, j)", "if(b, 1, 2.5)", "if(b, d, m)", "if(b, null, i)", "coalesce(i, j)", "coalesce(i, x)",
    "coalesce(s, 'none')", "coalesce(i, 'none')", "nvl(x, 0)", "ifnull(x, 0.5)", "nvl2(i, 'yes', 'no')", "nullif(i, 1)",
    "nullif(s, 'a')", "greatest(i, j)", "least(x, y, 1)", "greatest(i, x)", "greatest(s, t)", "least(d, e)", "coalesce(b, false)",
    # casts
    "cast(i as string)", "cast(b as string)", "cast(d as string)", "cast(m as string)", "cast(x as bigint)", "cast(x as int)", "cast(i as int)",
    "cast(i as double)", "cast(i as boolean)", "cast(x as boolean)", "cast(b as bigint)", "cast(b as double)", "cast(s as bigint)",
    "cast(s as int)", "cast(s as double)", "cast(s as boolean)", "cast(s as date)", "cast(s as timestamp)", "cast(d as timestamp)",
    "cast(m as date)", "cast(m as bigint)", "cast(i as timestamp)", "cast(x as timestamp)", "try_cast(s as double)", "double(s)", "bigint(x)", "string(i)", "boolean(i)", "s::bigint",
    "cast(i as tinyint)", "cast(x as string)", "cast(null as string)", "date(s)", "timestamp(s)",
    # numbers
    "abs(i)", "abs(x)", "sign(x)", "sign(i)", "ceil(x)", "floor(x)", "ceil(i)", "ceiling(x)", "round(x)", "round(x, 1)", "round(x, 2)", "round(i)", "round(x, 5)",
    "sqrt(x)", "sqrt(i)", "exp(x)", "exp(-x / 3)", "ln(x)", "log(x)", "ln(i)", "log10(x)", "log10(i)", "log2(x)", "log1p(x)", "log1p(x / 10)",
    "pow(x, 2)", "power(i, 2)", "pow(x, 0.5)", "pow(x, 1)", "pow(x, 0)", "pow(x, -1)", "signum(x)", "1 / (1 + exp(-x))",
    # text
    "length(s)", "char_length(s)", "len(s)", "upper(s)", "lower(s)", "ucase(s)", "lcase(s)", "trim(s)", "ltrim(s)", "rtrim(s)", "s || t",
    "concat(s, t)", "concat(s, '-', i)", "concat(s)", "concat(x)", "s || b", "left(s, 2)", "right(s, 2)", "left(s, 0)", "right(s, 0)",
    "substring(s, 2)", "substring(s, 1, 3)", "substring(s, 0, 2)", "substr(s, 2, 100)", "substring(s, 100)", "substring(s, -3)", "substring(s, -3, 2)", "substring(s, -100, 2)",
    "instr(s, 'b')", "instr(s, '')", "locate('b', s)", "position('b', s)", "replace(s, 'a', 'x')", "replace(s, '', 'x')", "replace(s, 'a')", "contains(s, 'b')", "contains(s, '')",
    "startswith(s, 'a')", "endswith(s, 'c')", "repeat(s, 2)", "repeat(s, 0)", "md5(s)", "s like 'a%'", "s like '%b_'", "s like '100%'", "s not like 'a_b'", "s like '🙂_'",
    "s like ''", "concat_ws('-', s, t)", "concat_ws('-', s, i)", "lpad(s, 5, '*')", "rpad(s, 5, 'xy')", "lpad(s, 2, '*')",
    "s rlike 'a'", "s rlike '^[a-c]+$'", "s rlike '[0-9]{2,}'", "s rlike '^.b'", "s rlike 'a|b'", r"s rlike '\\d+'", r"s rlike '^\\s*$'", "regexp_like(s, 'l+o')",
    "regexp_extract(s, '([a-z]+) ([a-z]+)', 2)", "regexp_extract(s, '[0-9]+', 0)", "regexp_extract(s, '(z)')", "regexp_replace(s, '[aeiou]', '*')", "regexp_replace(s, '[0-9]+', '#')",
    # dates
    "year(d)", "quarter(d)", "month(d)", "day(d)", "dayofmonth(d)", "dayofyear(d)", "dayofweek(d)", "weekday(d)", "weekofyear(d)",
    "year(m)", "month(m)", "hour(m)", "minute(m)", "second(m)", "hour(s)", "year(s)", "last_day(d)", "date_add(d, 1)", "date_add(d, i)", "date_sub(d, 1)",
    "datediff(d, e)", "datediff(m, d)", "date_diff(d, e)", "unix_timestamp(m)", "to_date(s)", "to_timestamp(s)", "to_date(m)", "extract(year from d)",
    "extract(hour from m)", "add_months(d, 1)", "add_months(d, -13)", "trunc(d, 'month')", "trunc(d, 'year')", "date_trunc('hour', m)", "date_trunc('week', m)", "date_trunc('day', d)",
    "date '2020-01-01'", "timestamp '2020-01-01 10:00:00'", "datediff(d, '2020-01-01')",
    # nesting
    "round(ln(x + 1) * 100, 2)", "case when length(trim(s)) > 2 then upper(left(s, 1)) else coalesce(s, '?') end",
    "if(i % 2 = 0 and x > 0, sqrt(x), -1)", "coalesce(cast(s as double), x, i)", "(x - 0.5) / nullif(y, 0)",
]  # fmt: skip


def write_values(path: Path) -> None:
    """Rows that combine the values above, each value in several rows."""
    chance = random.Random(1)
    rows = 4 * max(map(len, (LONGS, DOUBLES, TEXTS, DATES, MOMENTS)))

    def column(values: list[Any], kind: pa.DataType) -> pa.Array:
        found = [value for value, _ in zip(itertools.cycle(values), range(rows), strict=False)]
        chance.shuffle(found)
        return pa.array(found, type=kind)

    pq.write_table(
        pa.table(
            {
                "n": pa.array(range(rows)),
                **{name: column(LONGS, pa.int64()) for name in "ij"},
                **{name: column(DOUBLES, pa.float64()) for name in "xy"},
                **{name: column(TEXTS, pa.string()) for name in "st"},
                **{name: column([None, True, False], pa.bool_()) for name in "bf"},
                **{name: column(DATES, pa.date32()) for name in "de"},
                "m": column(MOMENTS, pa.timestamp("us", tz="UTC")),
            }
        ),
        path,
    )


# Where we mean to differ from Spark with ANSI mode off, and why; told to users in docs/sql.md.
_OVERFLOW = "an overflow is null; Spark goes on with other digits"
_OUT_OF_RANGE = (
    "a number that the type does not hold is null; Spark takes the nearest or other digits"
)
_DOUBLES = "numbers with a fraction are doubles; Spark takes written ones for decimals"
_WIDE = "whole numbers have 64 bits, written ones too"
_NAN = "NaN is null"
DIFFERENT: dict[str, str] = {
    **dict.fromkeys(
        ("i + j", "i - j", "i * j", "-i", "i + 1", "2 * i", "(i + 1) * 2", "abs(i)"), _OVERFLOW
    ),
    "9223372036854775807 + 1": _OVERFLOW,
    "2147483647 + 1": _WIDE,
    **dict.fromkeys(("0.1 + 0.2", "i * 1.5"), _DOUBLES),
    "isnan(sqrt(x))": _NAN,
    **dict.fromkeys(
        (
            "cast(x as bigint)",
            "cast(x as int)",
            "cast(i as int)",
            "cast(i as tinyint)",
            "bigint(x)",
        ),
        _OUT_OF_RANGE,
    ),
    **dict.fromkeys(("ceil(x)", "floor(x)", "ceiling(x)"), _OUT_OF_RANGE),
}
# What we take and Spark does not.
REFUSED_BY_SPARK = {"date_add(d, i)": "the number of days is a bigint"}
