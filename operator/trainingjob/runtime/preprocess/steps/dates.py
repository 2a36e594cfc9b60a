"""dateParts: dates and times as numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainingjob.api.v1alpha1.features import DatePart, DateParts
from trainingjob.api.v1alpha1.input import ColumnType

from ..engines.frame import Frame
from ..expressions.dialect import Dialect
from .chosen import add
from .step import Fitted, Where


@dataclass(frozen=True)
class Part:
    """SQL of a part: of ``x``, a date or a timestamp, or what the dialect makes of it."""

    sql: str | Callable[[Dialect, str, ColumnType], str]
    of_time: bool = False  # a date has none
    kind: ColumnType = "bigint"


def _days(dialect: Dialect, value: str, kind: ColumnType) -> str:
    moment = f"CAST({value} AS TIMESTAMP)" if kind == "date" else value
    return f"(CAST({dialect.epoch_micros(moment)} AS DOUBLE) / {dialect.double(86400e6)})"


PARTS: dict[DatePart, Part] = {
    "year": Part("year(x)"),
    "quarter": Part("quarter(x)"),
    "month": Part("month(x)"),
    "week": Part("weekofyear(x)"),
    "day": Part("day(x)"),
    "dayOfWeek": Part(lambda dialect, x, kind: dialect.day_of_week(x)),
    "dayOfYear": Part("dayofyear(x)"),
    "isWeekend": Part(
        lambda dialect, x, kind: (
            f"CASE WHEN {dialect.day_of_week(x)} >= 5 THEN 1 WHEN {x} IS NOT NULL THEN 0 END"
        )
    ),
    "hour": Part("hour(x)", of_time=True),
    "minute": Part("minute(x)", of_time=True),
    "second": Part("second(x)", of_time=True),
    "daysSince1970": Part(_days, kind="double"),
}


def date_parts(spec: DateParts, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Columns ``column_part`` in the column's place. Applied: as the fields say; nothing is
    learned."""
    where.require(frame, spec.columns)
    made: dict[str, tuple[str, ColumnType]] = {}
    for name, (column, kind) in where.unchanged(frame).items():
        if name not in spec.columns:
            made[name] = (column, kind)
            continue
        if kind not in ("date", "timestamp"):
            raise where.failure(_no_date(name, kind))
        for part in dict.fromkeys(spec.parts):
            known = PARTS[part]
            if known.of_time and kind == "date":
                raise where.failure(f"column {name} is a date: it has no {part}")
            if callable(known.sql):
                value = known.sql(where.dialect, column, kind)
            else:
                value = known.sql.replace("(x)", f"({column})")
            value = f"CAST({value} AS {where.dialect.type_name(known.kind)})"
            add(where, made, frame, f"{name}_{part}", (value, known.kind))
    return where.project(frame, made), {}


def _no_date(name: str, kind: ColumnType) -> str:
    remedy = {
        "string": "read it as one with `input.schema`, or before this step with "
        f"`withColumn: {{name: {name}, expr: \"to_date({name}, 'dd/MM/yyyy')\"}}`",
        "bigint": "seconds since 1970 become one with "
        f"`cast: {{columns: {{{name}: timestamp}}}}` before this step",
    }.get(kind, "")
    return f"column {name} is a {kind}, not a date or a timestamp" + (remedy and f"; {remedy}")
