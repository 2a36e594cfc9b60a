"""The user's SQL as the engine runs it: written anew, or as it stands where only Spark has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base.errors import StageFailure
from ...base.text import cut
from .compiler import compile_expression
from .syntax import Unportable
from .typed import Typed

if TYPE_CHECKING:
    from ..engines.frame import Frame
    from ..steps.step import Where


def expression(where: Where, text: str, frame: Frame) -> Typed:
    """A scalar expression over the frame's columns.

    Raises StageFailure(ExpressionInvalid, ColumnNotFound)."""
    engine = where.engine
    try:
        return compile_expression(text, frame.columns, where.dialect, where.text)
    except RecursionError as error:
        raise where.failure(
            f"{cut(text, 60)} is too deep: of hundreds of operators or parentheses in each other "
            "make several withColumn steps",
            "ExpressionInvalid",
        ) from error
    except Unportable as part:
        if not engine.runs_spark_sql:
            raise refusal(where, part) from part
    with where.errors():
        view = engine.view(f"SELECT ({text}) AS value FROM {frame.view}")
    ((_, kind),) = engine.columns_of(view)
    if kind is None:
        raise where.failure(f"{text} gives a type that a dataset cannot hold", "ExpressionInvalid")
    value = f"CAST(({text}) AS {where.dialect.type_name(kind)})"
    return Typed(where.dialect.finite(value) if kind == "double" else value, kind)


def refusal(where: Where, part: Unportable) -> StageFailure:
    """What engine pandas says to an expression that only Spark can run."""
    message = (
        str(part)
        if part.is_error
        else f"{part} is not available in engine pandas: use engine spark"
    )
    return where.failure(message, "ExpressionInvalid")
