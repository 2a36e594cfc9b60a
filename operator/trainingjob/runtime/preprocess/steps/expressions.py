"""The user's SQL in a step: what it gives, and the tallies of what it loses.

Imported by steps that have some: the parser takes a tenth of a second to load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlglot import exp

from ...base.errors import StageFailure
from ..account import Tally, Then
from ..engines.frame import Frame
from ..expressions.compiler import Compiler
from ..expressions.sqltext import expression
from ..expressions.syntax import Unportable, parse, text_of
from .losses import of_column
from .step import Where

__all__ = ["expression", "of_expression"]

# Functions whose arguments after the first are for when it is null, and those that decide for
# themselves which of theirs matter.
_COALESCING = ("coalesce", "ifnull", "nvl")
_CHOOSING = ("if", "iff", "nvl2", "nullif", "try", "decode", "greatest", "least")
# As ``double(x)`` for ``cast(x as double)``.
_CONVERSIONS = ("double", "bigint", "boolean", "date", "timestamp")


def of_expression(where: Where, text: str, frame: Frame, name: str = "") -> list[Tally]:
    """Of the casts in an expression; and for the column ``name`` that it makes, of rows in which
    it is null although all that it is made of is there."""
    try:
        tree = parse(text)
        compiler = Compiler(frame.columns, where.dialect, where.text)
        casts = list(_casts(compiler, tree, "warn"))
        return casts if casts or not name else _of_result(compiler, tree, name)
    except (Unportable, RecursionError):
        return []


def _casts(compiler: Compiler, node: exp.Expr, some: Then) -> Iterator[Tally]:
    """Of the casts that are made in every row, whatever else is in it."""
    if isinstance(node, exp.Case | exp.If | exp.And | exp.Or | exp.Query | exp.Window):
        return
    children = list(node.iter_expressions())
    if isinstance(node, exp.Anonymous):
        function = node.name.lower()
        if function in _CHOOSING or function.startswith("try_"):
            return
        if function in _COALESCING:
            children, some = children[:1], "tell"
    converts = isinstance(node, exp.Anonymous) and node.name.lower() in _CONVERSIONS
    if isinstance(node, exp.Cast) or (converts and len(node.expressions) == 1):
        try:
            operand = node.expressions[0] if converts else node.this
            value, result = compiler.compile(operand), compiler.compile(node)
        except (Unportable, StageFailure):
            return
        if value.kind != "null" and result.kind != "null":
            deliberate = bool(node.args.get("safe"))
            for tally in of_column(
                compiler.dialect, text_of(node), value.kind, result.kind, value.sql, result.sql
            ):
                if deliberate and tally.when_all == "fail":
                    tally = replace(tally, when_all="warn", when_some="tell")
                yield replace(tally, when_some=some) if some == "tell" else tally
    for child in children:
        yield from _casts(compiler, child, some)


def _of_result(compiler: Compiler, tree: exp.Expr, name: str) -> list[Tally]:
    columns = list(dict.fromkeys(node.name for node in tree.find_all(exp.Column)))
    try:
        result = compiler.compile(tree)
        inputs = [compiler.compile(exp.column(column, quoted=True)) for column in columns]
    except (Unportable, StageFailure):
        return []
    if not inputs or result.kind == "null":
        return []
    # Where nulls are written on purpose, there may be some.
    chooses = any(
        isinstance(node, exp.Case | exp.If)
        or (isinstance(node, exp.Anonymous) and node.name.lower() in _CHOOSING)
        for node in tree.walk()
    )
    shown = inputs[0]
    sql = compiler.dialect.finite(result.sql) if result.kind == "double" else result.sql
    assert shown.kind != "null"
    return [
        Tally(
            name,
            " AND ".join(f"{one.sql} IS NOT NULL" for one in inputs),
            f"({sql}) IS NULL",
            shown.sql,
            shown.kind,
            became="are null, though all that they are made of is there",
            when_all="tell" if chooses else "warn",
            when_some="tell",
        )
    ]
