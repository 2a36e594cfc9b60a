"""Functions of Spark SQL that both engines have, with one meaning: the table.

A function is here only if a test has shown that both engines give the same for a wide table of
values (tests/local/preprocess/test_expressions.py). ``{0}`` is the first argument, already of the
type that ``takes`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainingjob.api.v1alpha1.input import ColumnType


@dataclass(frozen=True)
class Function:
    """How to call a function in each engine."""

    takes: tuple[ColumnType, ...]  # Spark converts to these unasked: a text to a date
    gives: ColumnType
    spark: str
    duckdb: str
    # Arguments that must be written out: whole numbers not below zero, texts not empty.
    literal: tuple[int, ...] = ()


def _both(takes: tuple[ColumnType, ...], gives: ColumnType, sql: str) -> Function:
    return Function(takes, gives, sql, sql)


# Units of trunc and date_trunc.
TRUNCATIONS = {
    "year": "year",
    "yyyy": "year",
    "yy": "year",
    "quarter": "quarter",
    "month": "month",
    "mon": "month",
    "mm": "month",
    "week": "week",
    "day": "day",
    "dd": "day",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
}


def _part(name: str, duckdb: str = "", *, of: ColumnType = "date") -> Function:
    """A field of a date or timestamp as a whole number."""
    return Function(
        (of,),
        "bigint",
        f"CAST({name}({{0}}) AS BIGINT)",
        f"CAST({duckdb or name + '({0})'} AS BIGINT)",
    )


def _math(name: str, domain: str = "{0}", duckdb: str = "") -> Function:
    """A function of a double. Null outside of the domain: Spark has NaN there at times, which is
    greater than every number."""
    one, other = f"{name}({{0}})", duckdb or f"{name}({{0}})"
    return Function(("double",), "double", one.replace("{0}", domain), other.replace("{0}", domain))


def _cut(name: str) -> Function:
    """A function of a text and a whole number that is written out."""
    return Function(
        ("string", "bigint"),
        "string",
        f"{name}({{0}}, CAST({{1}} AS INT))",
        f"{name}({{0}}, {{1}})",
        literal=(1,),
    )


def _date(spark: str, duckdb: str, most: int) -> Function:
    """A date that so many days or months (``{n}``, at most ``most``) lead to; null beyond the years
    1 to 9999."""
    number = f"CAST(CASE WHEN {{1}} BETWEEN -{most} AND {most} THEN {{1}} END AS INT)"
    held = "CASE WHEN %s BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN %s END"
    one, other = (sql.replace("{n}", number) for sql in (spark, duckdb))
    return Function(("date", "bigint"), "date", held % (one, one), held % (other, other))


_ABOVE_0 = "CASE WHEN {0} > 0 THEN {0} END"
_WHOLE = "CASE WHEN abs({0}) < 9223372036854775807 THEN CAST(%s({0}) AS BIGINT) END"
_SQRT = "sqrt(CASE WHEN {0} >= 0 THEN {0} END)"
_ABOVE_0_AS = "ln(CASE WHEN {%s} > 0 THEN {%s} END)"
_LOG = f"({_ABOVE_0_AS % (1, 1)} / nullif({_ABOVE_0_AS % (0, 0)}, 0))"
# DuckDB lacks them. What rounding takes from 1 + x and from exp(x) near 1 the quotient gives back:
# Kahan, see Higham, Accuracy and Stability of Numerical Algorithms, 1.14.1.
_LOG1P = (
    "CASE WHEN 1 + {0} = 1 THEN {0} WHEN abs({0}) > 1 THEN ln(1 + {0}) "
    "ELSE ln(1 + {0}) * {0} / ((1 + {0}) - 1) END"
)
_EXPM1 = (
    "CASE WHEN exp({0}) = 1 THEN {0} WHEN abs({0}) > 1 THEN exp({0}) - 1 "
    "ELSE (exp({0}) - 1) * {0} / ln(exp({0})) END"
)
# Functions that have a value for every number.
_ANYWHERE = (
    "exp", "cbrt", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "degrees", "radians",
)  # fmt: skip
_MOST_DAYS, _MOST_MONTHS = 4_000_000, 130_000  # more than there are from year 1 to 9999

FUNCTIONS: dict[str, tuple[Function, ...]] = {
    # --- numbers -----------------------------------------------------------------------
    "abs": (
        Function(
            ("bigint",),
            "bigint",
            "abs(CASE WHEN {0} >= -9223372036854775807 THEN {0} END)",
            "TRY(abs({0}))",
        ),
        _both(("double",), "double", "abs({0})"),
    ),
    "sign": (Function(("double",), "double", "sign({0})", "CAST(sign({0}) AS DOUBLE)"),),
    "ceil": (_both(("bigint",), "bigint", "{0}"), _both(("double",), "bigint", _WHOLE % "ceil")),
    "floor": (_both(("bigint",), "bigint", "{0}"), _both(("double",), "bigint", _WHOLE % "floor")),
    "round": (
        _both(("bigint",), "bigint", "{0}"),
        Function(("double",), "double", "round({0}, 0)", "java_round({0}, 0)"),
        Function(("bigint", "bigint"), "bigint", "{0}", "{0}", literal=(1,)),
        Function(
            ("double", "bigint"),
            "double",
            "round({0}, CAST({1} AS INT))",
            "java_round({0}, {1})",
            literal=(1,),
        ),
    ),
    "sqrt": (_both(("double",), "double", _SQRT),),
    **{name: (_math(name),) for name in _ANYWHERE},
    **{name: (_math(name, "CASE WHEN abs({0}) <= 1 THEN {0} END"),) for name in ("asin", "acos")},
    "atan2": (_both(("double", "double"), "double", "atan2({0}, {1})"),),
    "pi": (_both((), "double", "pi()"),),
    "e": (Function((), "double", "e()", "CAST('2.718281828459045' AS DOUBLE)"),),
    "pow": (_both(("double", "double"), "double", "pow({0}, {1})"),),
    **{name: (_math(name, _ABOVE_0),) for name in ("ln", "log10", "log2")},
    "log": (
        _math("ln", _ABOVE_0),
        _both(("double", "double"), "double", _LOG),
    ),
    "log1p": (_math("log1p", "CASE WHEN {0} > -1 THEN {0} END", _LOG1P),),
    "expm1": (_math("expm1", duckdb=_EXPM1),),
    "isnan": (Function(("double",), "boolean", "isnan({0})", "coalesce(isnan({0}), FALSE)"),),
    # --- text --------------------------------------------------------------------------
    "length": (_part("length", of="string"),),
    "upper": (Function(("string",), "string", "upper({0})", "java_upper({0})"),),
    "lower": (Function(("string",), "string", "lower({0})", "java_lower({0})"),),
    # DuckDB's cut every white space of Unicode, unless they are told what.
    **{
        name: (Function(("string",), "string", f"{name}({{0}})", f"{name}({{0}}, ' ')"),)
        for name in ("trim", "ltrim", "rtrim")
    },
    "left": (_cut("left"),),
    "right": (_cut("right"),),
    "instr": (
        Function(
            ("string", "string"), "bigint", "CAST(instr({0}, {1}) AS BIGINT)", "instr({0}, {1})"
        ),
    ),
    "locate": (
        Function(
            ("string", "string"), "bigint", "CAST(locate({0}, {1}) AS BIGINT)", "instr({1}, {0})"
        ),
    ),
    "replace": (
        Function(("string", "string"), "string", "replace({0}, {1})", "replace({0}, {1}, '')"),
        _both(("string", "string", "string"), "string", "replace({0}, {1}, {2})"),
    ),
    "lpad": (
        Function(
            ("string", "bigint", "string"),
            "string",
            "lpad({0}, CAST({1} AS INT), {2})",
            "lpad({0}, CAST({1} AS INTEGER), {2})",
            literal=(1, 2),
        ),
    ),
    "rpad": (
        Function(
            ("string", "bigint", "string"),
            "string",
            "rpad({0}, CAST({1} AS INT), {2})",
            "rpad({0}, CAST({1} AS INTEGER), {2})",
            literal=(1, 2),
        ),
    ),
    "contains": (_both(("string", "string"), "boolean", "contains({0}, {1})"),),
    "startswith": (
        Function(("string", "string"), "boolean", "startswith({0}, {1})", "starts_with({0}, {1})"),
    ),
    "endswith": (
        Function(("string", "string"), "boolean", "endswith({0}, {1})", "ends_with({0}, {1})"),
    ),
    "repeat": (_cut("repeat"),),
    "md5": (_both(("string",), "string", "md5({0})"),),
    # --- dates and timestamps ------------------------------------------------------------
    "year": (_part("year"),),
    "quarter": (_part("quarter"),),
    "month": (_part("month"),),
    "day": (_part("day"),),
    "dayofyear": (_part("dayofyear"),),
    "dayofweek": (_part("dayofweek", "dayofweek({0}) + 1"),),  # from Sunday = 1
    "weekday": (_part("weekday", "isodow({0}) - 1"),),  # from Monday = 0
    "weekofyear": (_part("weekofyear"),),
    "hour": (_part("hour", of="timestamp"),),
    "minute": (_part("minute", of="timestamp"),),
    "second": (_part("second", of="timestamp"),),
    "last_day": (_both(("date",), "date", "last_day({0})"),),
    "date_add": (_date("date_add({0}, {n})", "{0} + {n}", _MOST_DAYS),),
    "date_sub": (_date("date_sub({0}, {n})", "{0} - {n}", _MOST_DAYS),),
    "add_months": (
        _date("add_months({0}, {n})", "CAST({0} + to_months({n}) AS DATE)", _MOST_MONTHS),
    ),
    "datediff": (
        Function(
            ("date", "date"),
            "bigint",
            "CAST(datediff({0}, {1}) AS BIGINT)",
            "date_diff('day', {1}, {0})",
        ),
    ),
    "to_date": (_both(("date",), "date", "{0}"),),
    "to_timestamp": (_both(("timestamp",), "timestamp", "{0}"),),
}

# Other names of the same.
ALIASES: dict[str, str] = {
    "ceiling": "ceil",
    "signum": "sign",
    "power": "pow",
    "position": "locate",
    "char_length": "length",
    "character_length": "length",
    "len": "length",
    "ucase": "upper",
    "lcase": "lower",
    "dayofmonth": "day",
    "dateadd": "date_add",
    "date_diff": "datediff",
    "date": "to_date",
    "timestamp": "to_timestamp",
}

# They would give another result at every run, and with it another split.
UNSTABLE = frozenset(
    (
        "rand",
        "random",
        "randn",
        "uuid",
        "shuffle",
        "monotonically_increasing_id",
        "spark_partition_id",
        "input_file_name",
        "now",
        "curdate",
        "current_date",
        "current_timestamp",
        "localtimestamp",
    )
)
