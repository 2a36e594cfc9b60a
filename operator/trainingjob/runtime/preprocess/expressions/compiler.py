"""Spark SQL expressions with one meaning in both engines.

An expression is parsed, its columns are looked up, and it is written anew for the engine with
every conversion spelled out, so that nothing is left to what an engine does unasked. The meaning
is Spark's with ANSI mode off: a division by zero and a text that is no number give null. So does
an overflow, where Spark goes on with other digits; numbers with a fraction are doubles, whole ones
bigints. docs/sql.md has all differences, and a test that compares with Spark itself proves them.

What is not in ``functions.py`` or below, down to a single word, is ``Unportable``: engine spark
runs the text as it stands, engine pandas refuses it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlglot import exp

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ..names import column_not_found
from . import calls
from .dialect import Dialect, has_meaning
from .growth import refuse_growth
from .spark_texts import date_of, timestamp_of
from .syntax import Unportable, parse, refuse_unread, spelled, text_of, written_text
from .typed import Kind, Typed, common_kind

_TYPES: dict[str, ColumnType] = {
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "STRING": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
# The whole numbers that narrower types hold.
_NARROW = {"INT": 2**31, "SMALLINT": 2**15, "TINYINT": 2**7}
_BACKSLASH = "\\"
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}


def compile_expression(
    text: str, columns: Mapping[str, ColumnType], dialect: Dialect, where: str
) -> Typed:
    """``text`` over ``columns`` as SQL of the engine.

    Raises StageFailure(ExpressionInvalid, ColumnNotFound) or Unportable; ``where`` begins the
    message.
    """
    tree = parse(text)
    refuse_growth(tree, where)
    compiled = Compiler(columns, dialect, where).compile(tree)
    refuse_unread(tree, text)
    if compiled.kind == "double":
        return Typed(dialect.finite(compiled.sql), "double")
    return compiled


class Compiler:
    """Writes syntax trees anew. One method per kind of node."""

    def __init__(self, columns: Mapping[str, ColumnType], dialect: Dialect, where: str) -> None:
        self._columns = columns
        self._by_lower_name = {name.lower(): name for name in columns}
        self.dialect = dialect
        self.where = where
        self._handlers: dict[type[exp.Expr], Callable[[Any], Typed]] = {
            exp.Paren: lambda node: self.compile(node.this),
            exp.Column: self._column,
            exp.Literal: self._literal,
            exp.RawString: self._text,
            exp.Concat: self._text,
            exp.Boolean: lambda node: Typed("TRUE" if node.this else "FALSE", "boolean"),
            exp.Null: lambda node: Typed("NULL", "null"),
            exp.Neg: self._negative,
            exp.Not: lambda node: Typed(f"(NOT {self.condition(node.this)})", "boolean"),
            exp.And: lambda node: self._logic(node, "AND"),
            exp.Or: lambda node: self._logic(node, "OR"),
            exp.Add: lambda node: self._arithmetic(node, "+"),
            exp.Sub: lambda node: self._arithmetic(node, "-"),
            exp.Mul: lambda node: self._arithmetic(node, "*"),
            exp.Div: self._division,
            exp.IntDiv: self._whole_division,
            exp.Mod: lambda node: self.remainder(node.this, node.expression),
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: self._like,
            exp.ILike: self._like,
            exp.Escape: self._escaped_like,
            exp.RegexpLike: lambda node: calls.matches(self, "rlike", [node.this, node.expression]),
            exp.Case: self._case,
            exp.If: self._if,
            exp.DPipe: lambda node: calls.concat(self, "concat", [node.this, node.expression]),
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Extract: self._extract,
            exp.Anonymous: lambda node: self.call(node.name.lower(), node.expressions),
            **dict.fromkeys(_COMPARISONS, self._comparison),
        }

    def compile(self, node: exp.Expr) -> Typed:
        """Any scalar expression."""
        handler = self._handlers.get(type(node))
        if handler is None:
            raise Unportable(text_of(node))
        return handler(node)

    def call(self, name: str, arguments: Sequence[exp.Expr]) -> Typed:
        """A function by its name in lower case."""
        return calls.call(self, name, arguments)

    # --- values --------------------------------------------------------------------------

    def _column(self, node: exp.Column) -> Typed:
        # A field of an object is a column: user.age.
        dotted = ".".join(part.name for part in node.parts)
        name = self._by_lower_name.get(dotted.lower())
        if name is None and node.table and node.table.lower() != "data":
            raise column_not_found(self.where, dotted, list(self._columns))
        name = name or self._by_lower_name.get(node.name.lower())
        if name is None:
            raise column_not_found(self.where, node.name, list(self._columns))
        return Typed(self.dialect.ident(name), self._columns[name])

    def _text(self, node: exp.Expr) -> Typed:
        text = written_text(node)
        if text is None:
            raise Unportable(text_of(node))
        if "\0" in text:
            raise Unportable("a text with a null character")
        return Typed(self.dialect.text(text), "string")

    def _literal(self, node: exp.Literal) -> Typed:
        return self._text(node) if node.is_string else self._written_number(node.this, "")

    def _written_number(self, digits: str, sign: str) -> Typed:
        if re.fullmatch("[0-9]+", digits):
            value = int(sign + digits)
            if not -(2**63) <= value < 2**63:
                raise Unportable(f"a whole number of more than 64 bits ({value})")
            return Typed(self.dialect.literal(value, "bigint"), "bigint")
        try:
            number = float(sign + digits)
        except ValueError:
            raise self.invalid(f"{digits} is no number") from None
        if math.isinf(number):
            raise self.invalid(f"{digits} is too large for a double")
        return Typed(self.dialect.literal(number, "double"), "double")

    def _negative(self, node: exp.Neg) -> Typed:
        if isinstance(node.this, exp.Literal) and not node.this.is_string:
            return self._written_number(node.this.this, "-")
        value = self.number(node.this)
        if value.kind == "double":
            return Typed(f"(-{value.sql})", "double")
        return Typed(
            self.dialect.checked("-", self.dialect.literal(0, "bigint"), value.sql), "bigint"
        )

    # --- operators -----------------------------------------------------------------------

    def _logic(self, node: exp.Binary, operator: str) -> Typed:
        left, right = self.condition(node.this), self.condition(node.expression)
        return Typed(f"({left} {operator} {right})", "boolean")

    def _arithmetic(self, node: exp.Binary, operator: str) -> Typed:
        left, right = self.number(node.this), self.number(node.expression)
        if left.kind == right.kind == "bigint":
            return Typed(self.dialect.checked(operator, left.sql, right.sql), "bigint")
        return Typed(
            f"({self.as_kind(left, 'double')} {operator} {self.as_kind(right, 'double')})", "double"
        )

    def _division(self, node: exp.Div) -> Typed:
        left, right = self.number(node.this), self.number(node.expression)
        divisor = f"nullif({self.as_kind(right, 'double')}, {self.dialect.double(0.0)})"
        return Typed(f"({self.as_kind(left, 'double')} / {divisor})", "double")

    def _whole_division(self, node: exp.IntDiv) -> Typed:
        left, right = self.number(node.this), self.number(node.expression)
        if "double" in (left.kind, right.kind):
            raise Unportable("div of numbers with a fraction")
        return Typed(self.dialect.whole_division(left.sql, right.sql), "bigint")

    def remainder(self, dividend: exp.Expr, divisor: exp.Expr) -> Typed:
        left, right = self.number(dividend), self.number(divisor)
        kind = common_kind(left.kind, right.kind)
        zero = self.dialect.literal(0, "bigint")
        assert kind in ("bigint", "double")
        return Typed(
            self.dialect.remainder(
                self.as_kind(left, kind), f"nullif({self.as_kind(right, kind)}, {zero})"
            ),
            kind,
        )

    def _comparison(self, node: exp.Binary) -> Typed:
        left, right = self.comparable([self.compile(node.this), self.compile(node.expression)])
        return Typed(f"({left} {_COMPARISONS[type(node)]} {right})", "boolean")

    def _is(self, node: exp.Is) -> Typed:
        test = spelled(node.expression)
        if test == "NULL":
            return Typed(f"({self.compile(node.this).sql} IS NULL)", "boolean")
        if test not in ("TRUE", "FALSE"):
            raise Unportable(f"IS {test}")
        return Typed(f"({self.condition(node.this)} IS {test})", "boolean")

    def _in(self, node: exp.In) -> Typed:
        if not node.expressions:
            raise Unportable("IN with a query")
        (first, *rest), _ = self.unified([node.this, *node.expressions])
        return Typed(f"({first} IN ({', '.join(rest)}))", "boolean")

    def _between(self, node: exp.Between) -> Typed:
        value = self.compile(node.this)
        # Two comparisons, each in the type of its own two sides.
        tests = []
        for key, operator in (("low", ">="), ("high", "<=")):
            one, bound = self.comparable([value, self.compile(node.args[key])])
            tests.append(f"{one} {operator} {bound}")
        return Typed(f"({' AND '.join(tests)})", "boolean")

    def _escaped_like(self, node: exp.Escape) -> Typed:
        escape = written_text(node.expression)
        if escape is None or len(escape) != 1 or not isinstance(node.this, exp.Like | exp.ILike):
            raise Unportable(text_of(node))
        return self._like(node.this, escape)

    def _like(self, node: exp.Like | exp.ILike, escape: str = "") -> Typed:
        value = self.as_kind(self.compile(node.this), "string")
        fold = isinstance(node, exp.ILike)
        if fold:
            value = self.dialect.lower(value)
        several = {exp.Any: "OR", exp.All: "AND"}.get(type(node.expression))
        patterns = [node.expression]
        if several:
            if escape:
                raise Unportable(f"ESCAPE after {text_of(node)}")
            inner = node.expression.this
            patterns = inner.expressions if isinstance(inner, exp.Tuple) else [inner.this]
        negate = "NOT " if node.args.get("negate") else ""
        tests = [
            f"({negate}{self._matches_like(value, pattern, escape or _BACKSLASH, fold)})"
            for pattern in patterns
        ]
        return Typed(f"({f' {several} '.join(tests)})", "boolean")

    def _matches_like(self, value: str, node: exp.Expr, escape: str, fold: bool) -> str:
        if isinstance(node, exp.Null):
            return self.dialect.literal(None, "boolean")
        text = written_text(node)
        if text is None:
            raise Unportable(f"LIKE with the computed pattern {text_of(node)}")
        pattern = self._like_pattern(text.lower() if fold else text, escape)
        escaped = f" ESCAPE {self.dialect.text(_BACKSLASH)}" if _BACKSLASH in pattern else ""
        return f"({value} LIKE {self.dialect.text(pattern)}{escaped})"

    def _like_pattern(self, text: str, escape: str) -> str:
        """A pattern with backslash as its escape."""
        parts: list[str] = []
        characters = iter(text)
        for character in characters:
            if character == escape:
                character = next(characters, "")
                if not character or character not in ("_", "%", escape):
                    raise self.invalid(
                        f"the pattern {text} has {escape} before what is not _, % or {escape}"
                    )
                special = character in ("_", "%", _BACKSLASH)
            else:
                special = character == _BACKSLASH
            parts.append(_BACKSLASH + character if special else character)
        return "".join(parts)

    def _case(self, node: exp.Case) -> Typed:
        subject = self.compile(node.this) if node.this else None
        conditions = [
            self.condition(branch.this)
            if subject is None
            else self._equal(subject, self.compile(branch.this))
            for branch in node.args["ifs"]
        ]
        results = [branch.args["true"] for branch in node.args["ifs"]]
        return self.choice(conditions, results, node.args.get("default"))

    def _equal(self, one: Typed, other: Typed) -> str:
        left, right = self.comparable([one, other])
        return f"({left} = {right})"

    def _if(self, node: exp.If) -> Typed:
        if node.args.get("false") is None:
            raise Unportable("function if with 2 arguments")
        condition = self.condition(node.this)
        return self.choice([condition], [node.args["true"]], node.args["false"])

    def choice(
        self, conditions: Sequence[str], results: Sequence[exp.Expr], default: exp.Expr | None
    ) -> Typed:
        """The result of the first condition that holds."""
        values, kind = self.unified([*results, default or exp.Null()])
        branches = " ".join(
            f"WHEN {condition} THEN {value}"
            for condition, value in zip(conditions, values, strict=False)
        )
        return Typed(f"CASE {branches} ELSE {values[-1]} END", kind)

    def _extract(self, node: exp.Extract) -> Typed:
        part = node.name.lower()
        if part == "second":  # with its fraction, unlike second(…)
            raise Unportable(text_of(node))
        return self.call(part, [node.expression])

    def _cast(self, node: exp.Cast) -> Typed:
        value = self.compile(node.this)
        strict = bool(node.args.get("safe"))  # TRY_CAST
        target = spelled(node.to)
        if type(node) is exp.Cast:  # of a typed literal: the parser makes TryCasts of the others
            self._check_literal(written_text(node.this), target)
        if target in _NARROW:
            whole, limit = self._as(value, "bigint", strict), _NARROW[target]
            return Typed(
                f"CASE WHEN {whole} BETWEEN {-limit} AND {limit - 1} THEN {whole} END", "bigint"
            )
        if target == "FLOAT":
            raise Unportable("the type float (use double)")
        if target not in _TYPES:
            raise Unportable(f"the type {target.lower()}")
        return Typed(self._as(value, _TYPES[target], strict), _TYPES[target])

    def _check_literal(self, text: str | None, target: str) -> None:
        reader = {"DATE": date_of, "TIMESTAMP": timestamp_of}.get(target)
        if text is None or reader is None:
            raise Unportable(f"a literal of the type {target.lower()}")
        if reader(text) is None:
            raise self.invalid(f"'{text}' is no {target.lower()}")

    def _as(self, value: Typed, kind: ColumnType, strict: bool = False) -> str:
        """A value that the user casts."""
        if value.kind == "null":
            return self.as_kind(value, kind)
        if not has_meaning(value.kind, kind):
            raise self.invalid(f"a {value.kind} cannot be cast to a {kind}")
        return self.dialect.cast(value.sql, value.kind, kind, strict=strict)

    def converted(self, node: exp.Expr, kind: ColumnType) -> Typed:
        """A call like double(x), which is a cast."""
        return Typed(self._as(self.compile(node), kind), kind)

    # --- types ---------------------------------------------------------------------------

    def number(self, node: exp.Expr) -> Typed:
        value = self.compile(node)
        if value.kind == "null":
            return Typed(self.as_kind(value, "bigint"), "bigint")
        if value.kind not in ("bigint", "double"):
            raise self.invalid(f"{text_of(node)} is a {value.kind}, not a number: cast it first")
        return value

    def condition(self, node: exp.Expr) -> str:
        """An expression that must be a boolean."""
        value = self.compile(node)
        if value.kind not in ("boolean", "null"):
            raise self.invalid(f"{text_of(node)} is a {value.kind}, not a condition")
        return self.as_kind(value, "boolean")

    def unified(self, nodes: Sequence[exp.Expr]) -> tuple[list[str], Kind]:
        """Expressions brought to one type."""
        values = [self.compile(node) for node in nodes]
        kinds = {value.kind for value in values} - {"null"}
        if "boolean" in kinds and len(kinds) > 1:
            raise self.invalid(f"{' and '.join(sorted(kinds))} have no type in common: cast one")
        kind: Kind = "null"
        for value in values:
            kind = common_kind(kind, value.kind)
        if kind == "null":
            return [value.sql for value in values], kind
        return [self.as_kind(value, kind) for value in values], kind

    def comparable(self, values: Sequence[Typed]) -> list[str]:
        """Values brought to the type in which Spark compares them: text gives way."""
        kinds = {value.kind for value in values} - {"null"}
        others = kinds - {"string"}
        if kinds <= {"string"}:
            kind: Kind = "string"
        else:
            kind = "null"
            for other in sorted(others):
                kind = (
                    "bigint" if {kind, other} == {"boolean", "bigint"} else common_kind(kind, other)
                )
            if kind in ("string", "null") or (kind == "boolean" and "string" in kinds):
                raise self.invalid(f"cannot compare {' with '.join(sorted(kinds))}")
        assert kind != "null"
        return [self.as_kind(value, kind) for value in values]

    def as_kind(self, value: Typed, kind: ColumnType) -> str:
        if value.kind == "null":
            return self.dialect.literal(None, kind)
        return self.dialect.cast(value.sql, value.kind, kind)

    def invalid(self, what: str) -> StageFailure:
        return StageFailure("ExpressionInvalid", f"{self.where}: {what}")
