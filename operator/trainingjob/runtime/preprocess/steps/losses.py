"""What a step may lose of the values that it converts: the tallies of casts and expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sqlglot import exp

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ..account import Tally, Then
from ..advice import of_cast
from ..engines.frame import Frame
from ..expressions.compiler import Compiler
from ..expressions.dialect import Dialect
from ..expressions.syntax import Unportable, parse, text_of
from .step import Where

# Casts that have a result for every value.
_WHOLE: set[tuple[ColumnType, ColumnType]] = {
    ("boolean", "bigint"),
    ("boolean", "double"),
    ("bigint", "boolean"),
    ("double", "boolean"),
    ("date", "timestamp"),
    ("timestamp", "date"),
    ("timestamp", "bigint"),
}
# Functions whose arguments after the first are for when it is null, and those that decide for
# themselves which of theirs matter.
_COALESCING = ("coalesce", "ifnull", "nvl")
_CHOOSING = ("if", "iff", "nvl2", "nullif", "try", "decode", "greatest", "least")
# As ``double(x)`` for ``cast(x as double)``.
_CONVERSIONS = ("double", "bigint", "boolean", "date", "timestamp")
# Whole numbers up to here are doubles as well.
_EXACT = 2**53


def of_column(
    dialect: Dialect, name: str, source: ColumnType, target: ColumnType, value: str, result: str
) -> list[Tally]:
    """Of ``value`` that a cast makes ``result`` of, both SQL."""
    there = f"{value} IS NOT NULL"
    tallies = []
    if source != target and target != "string" and (source, target) not in _WHOLE:
        tallies.append(
            Tally(
                name,
                there,
                f"{result} IS NULL",
                value,
                source,
                became=f"became null as {target}",
                advice=lambda samples: of_cast(name, source, target, samples),
            )
        )
    if (source, target) == ("bigint", "double"):
        least, most = (dialect.literal(sign * _EXACT, "bigint") for sign in (-1, 1))
        back = f"CAST({result} AS {dialect.type_name('bigint')})"
        tallies = [
            Tally(
                name,
                there,
                # The greatest doubles are beyond the bigints.
                f"NOT ({value} BETWEEN {least} AND {most}) AND (abs({result}) >= "
                f"{dialect.double(2.0**63)} OR {back} <> {value})",
                value,
                source,
                became="were rounded: a double holds 15 to 17 digits",
                reason="ValuesRounded",
                when_all="warn",
            )
        ]
    if (source, target) == ("double", "bigint"):
        tallies.append(
            Tally(
                name,
                there,
                f"{result} IS NOT NULL AND {value} <> floor({value})",
                value,
                source,
                became="lost their fraction",
                when_all="tell",
                when_some="tell",
            )
        )
    return tallies


def of_expression(where: Where, text: str, frame: Frame, name: str = "") -> list[Tally]:
    """Of the casts in an expression; and for the column ``name`` that it makes, of rows in which
    it is null although all that it is made of is there."""
    try:
        tree = parse(text)
    except Unportable:
        return []
    compiler = Compiler(frame.columns, where.dialect, where.text)
    casts = list(_casts(compiler, tree, "warn"))
    if casts or not name:
        return casts
    return _of_result(compiler, tree, name)


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


def unseen(name: str, held_out: str, there: str, test: str, remedy: str = "") -> Tally:
    """Of values ``there`` in rows that are ``held_out``: whether the training split has them not,
    by ``test``."""
    remedy = remedy or (
        f"`groupRare: {{columns: [{name}], minCount: 10}}` before it makes one category of those "
        "and of the rare ones"
    )
    return Tally(
        name,
        f"{held_out} AND {there}",
        test,
        "",
        "null",
        became="in held-out rows are of categories that no training row has",
        reason="CategoriesUnseen",
        when_all="warn",
        remedy=remedy,
        warn_from=0.05,
    )


def casts(columns: Mapping[str, ColumnType], frame: Frame, dialect: Dialect) -> list[Tally]:
    """Of a cast step."""
    tallies: list[Tally] = []
    for name, kind in columns.items():
        quoted = dialect.ident(name)
        result = dialect.cast(quoted, frame.columns[name], kind)
        tallies += of_column(dialect, name, frame.columns[name], kind, quoted, result)
    return tallies
