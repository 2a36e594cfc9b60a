"""Spark SQL expressions with one meaning in both engines.

An expression is parsed, its columns are looked up, and it is written anew for the engine with
every conversion spelled out, so that nothing is left to what an engine does unasked. The meaning
is Spark's, with errors as nulls: an overflow, a division by zero and a text that is no number give
null. Numbers with a fraction are doubles, whole ones bigints.

What is not in ``functions.py`` or below is ``Unportable``: engine spark runs the text as it
stands, engine pandas refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import sqlglot
from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ParseError, SqlglotError

from trainingjob.api.v1alpha1.preprocess import ColumnType

from ..errors import StageFailure
from .dialect import Dialect
from .functions import ALIASES, FUNCTIONS, TRUNCATIONS, UNSTABLE, Argument, Function
from .names import column_not_found, one_line
from .patterns import matches_nothing, portable

Kind = ColumnType | Literal["null"]

_TYPES: dict[str, ColumnType] = {
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "TEXT": "string",
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPTZ": "timestamp",
}
# The whole numbers that narrower types hold.
_NARROW = {"INT": 2**31, "SMALLINT": 2**15, "TINYINT": 2**7}
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


class PlainSpark(Spark):
    """Spark's syntax with every function call left as it is written."""

    class Parser(Spark.Parser):  # type: ignore[misc, valid-type]
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: Spark.Parser.FUNCTION_PARSERS[name] for name in ("CAST", "TRY_CAST", "EXTRACT")
        }


class Unportable(Exception):
    """An expression that only Spark can run, if any can: the text names the part, or says what is
    wrong with the syntax (``is_error``)."""

    is_error = False


class NotParsed(Unportable):
    """Not Spark SQL, as far as we know."""

    is_error = True


@dataclass(frozen=True)
class Typed:
    """SQL and the type of what it gives."""

    sql: str
    kind: Kind


def parse(text: str) -> exp.Expr:
    """The syntax tree; raises NotParsed."""
    try:
        return sqlglot.parse_one(text, dialect=PlainSpark)
    except SqlglotError as error:
        raise NotParsed(f"{text[:200]}: {_syntax_error(error)}") from error


def _syntax_error(error: SqlglotError) -> str:
    found = error.errors[0] if isinstance(error, ParseError) and error.errors else None
    if not found:
        return one_line(error)
    return f"{found['description']} (line {found['line']}, column {found['col']})"


def compile_expression(
    text: str, columns: Mapping[str, ColumnType], dialect: Dialect, where: str
) -> Typed:
    """``text`` over ``columns`` as SQL of the engine.

    Raises StageFailure(ExpressionInvalid, ColumnNotFound) or Unportable; ``where`` begins the
    message.
    """
    compiler = Compiler(columns, dialect, where)
    compiled = compiler.compile(parse(text))
    if compiled.kind == "double":
        return Typed(dialect.finite(compiled.sql), "double")
    return compiled


class Compiler:
    """Writes syntax trees anew. One method per kind of node."""

    def __init__(self, columns: Mapping[str, ColumnType], dialect: Dialect, where: str) -> None:
        self._columns = columns
        self._by_lower_name = {name.lower(): name for name in columns}
        self._dialect = dialect
        self._where = where
        self._handlers: dict[type[exp.Expr], Callable[[Any], Typed]] = {
            exp.Paren: lambda node: self.compile(node.this),
            exp.Column: self._column,
            exp.Literal: self._literal,
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
            exp.Mod: lambda node: self._remainder(node.this, node.expression),
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: self._like,
            exp.RegexpLike: lambda node: self._matches([node.this, node.expression]),
            exp.Case: self._case,
            exp.If: self._if,
            exp.DPipe: lambda node: self._concat([node.this, node.expression]),
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Extract: lambda node: self._call(node.name.lower(), [node.expression]),
            exp.Anonymous: lambda node: self._call(node.name.lower(), node.expressions),
            **dict.fromkeys(_COMPARISONS, self._comparison),
        }

    def compile(self, node: exp.Expr) -> Typed:
        """Any scalar expression."""
        handler = self._handlers.get(type(node))
        if handler is None:
            raise Unportable(node.sql(dialect=PlainSpark)[:100])
        return handler(node)

    # --- values --------------------------------------------------------------------------

    def _column(self, node: exp.Column) -> Typed:
        if node.table and node.table.lower() != "data":
            raise self._invalid(f"{node.sql(dialect=PlainSpark)}: columns have no qualifier here")
        name = self._by_lower_name.get(node.name.lower())
        if name is None:
            raise column_not_found(self._where, node.name, list(self._columns))
        return Typed(self._dialect.ident(name), self._columns[name])

    def _literal(self, node: exp.Literal) -> Typed:
        if node.is_string:
            return Typed(self._dialect.text(node.this), "string")
        if node.this.isdigit():
            value = int(node.this)
            if value < 2**63:
                return Typed(self._dialect.literal(value, "bigint"), "bigint")
        return Typed(self._dialect.literal(float(node.this), "double"), "double")

    def _negative(self, node: exp.Neg) -> Typed:
        if (
            isinstance(node.this, exp.Literal)
            and not node.this.is_string
            and node.this.this.isdigit()
        ):
            return Typed(self._dialect.literal(-int(node.this.this), "bigint"), "bigint")
        value = self._number(node.this)
        if value.kind == "double":
            return Typed(f"(-{value.sql})", "double")
        return Typed(
            self._dialect.checked("-", self._dialect.literal(0, "bigint"), value.sql), "bigint"
        )

    # --- operators -----------------------------------------------------------------------

    def _logic(self, node: exp.Binary, operator: str) -> Typed:
        left, right = self.condition(node.this), self.condition(node.expression)
        return Typed(f"({left} {operator} {right})", "boolean")

    def _arithmetic(self, node: exp.Binary, operator: str) -> Typed:
        left, right = self._number(node.this), self._number(node.expression)
        if left.kind == right.kind == "bigint":
            return Typed(self._dialect.checked(operator, left.sql, right.sql), "bigint")
        return Typed(
            f"({self._as(left, 'double')} {operator} {self._as(right, 'double')})", "double"
        )

    def _division(self, node: exp.Div) -> Typed:
        left, right = self._number(node.this), self._number(node.expression)
        divisor = f"nullif({self._as(right, 'double')}, {self._dialect.double(0.0)})"
        return Typed(f"({self._as(left, 'double')} / {divisor})", "double")

    def _whole_division(self, node: exp.IntDiv) -> Typed:
        left, right = self._number(node.this), self._number(node.expression)
        if "double" in (left.kind, right.kind):
            raise Unportable("div of numbers with a fraction")
        return Typed(self._dialect.whole_division(left.sql, right.sql), "bigint")

    def _remainder(self, dividend: exp.Expr, divisor: exp.Expr) -> Typed:
        left, right = self._number(dividend), self._number(divisor)
        kind = common_kind(left.kind, right.kind)
        zero = self._dialect.literal(0, "bigint")
        assert kind in ("bigint", "double")
        return Typed(
            self._dialect.remainder(
                self._as(left, kind), f"nullif({self._as(right, kind)}, {zero})"
            ),
            kind,
        )

    def _comparison(self, node: exp.Binary) -> Typed:
        left, right = self._comparable([self.compile(node.this), self.compile(node.expression)])
        return Typed(f"({left} {_COMPARISONS[type(node)]} {right})", "boolean")

    def _is(self, node: exp.Is) -> Typed:
        value = self.compile(node.this)
        test = node.expression.sql().upper()
        if test not in ("NULL", "TRUE", "FALSE"):
            raise Unportable(f"IS {test}")
        return Typed(f"({value.sql} IS {test})", "boolean")

    def _in(self, node: exp.In) -> Typed:
        if not node.expressions:
            raise Unportable("IN with a query")
        values = [self.compile(node.this), *map(self.compile, node.expressions)]
        first, *rest = self._comparable(values)
        return Typed(f"({first} IN ({', '.join(rest)}))", "boolean")

    def _between(self, node: exp.Between) -> Typed:
        parts = [node.this, node.args["low"], node.args["high"]]
        value, low, high = self._comparable([self.compile(part) for part in parts])
        return Typed(f"({value} BETWEEN {low} AND {high})", "boolean")

    def _like(self, node: exp.Like) -> Typed:
        pattern = node.expression
        if not (isinstance(pattern, exp.Literal) and pattern.is_string) or "\\" in pattern.this:
            raise Unportable("LIKE with a computed pattern or with an escape")
        value = self._as(self.compile(node.this), "string")
        return Typed(f"({value} LIKE {self._dialect.text(pattern.this)})", "boolean")

    def _case(self, node: exp.Case) -> Typed:
        subject = node.this
        conditions = [
            exp.EQ(this=subject.copy(), expression=branch.this) if subject else branch.this
            for branch in node.args["ifs"]
        ]
        results = [branch.args["true"] for branch in node.args["ifs"]]
        return self._choice(conditions, results, node.args.get("default"))

    def _if(self, node: exp.If) -> Typed:
        return self._choice([node.this], [node.args["true"]], node.args.get("false"))

    def _choice(
        self, conditions: Sequence[exp.Expr], results: Sequence[exp.Expr], default: exp.Expr | None
    ) -> Typed:
        values, kind = self._unified([*results, default or exp.Null()])
        branches = " ".join(
            f"WHEN {self.condition(condition)} THEN {value}"
            for condition, value in zip(conditions, values, strict=False)
        )
        return Typed(f"CASE {branches} ELSE {values[-1]} END", kind)

    def _concat(self, parts: Sequence[exp.Expr]) -> Typed:
        texts = [self._as(self.compile(part), "string") for part in parts]
        return Typed(f"({' || '.join(texts)})", "string")

    def _cast(self, node: exp.Cast) -> Typed:
        value = self.compile(node.this)
        target = node.to.sql().upper()
        if target in _NARROW:
            whole, limit = self._as(value, "bigint"), _NARROW[target]
            return Typed(
                f"CASE WHEN {whole} BETWEEN {-limit} AND {limit - 1} THEN {whole} END", "bigint"
            )
        if target == "FLOAT":
            raise Unportable("the type float (use double)")
        if target not in _TYPES:
            raise Unportable(f"the type {target.lower()}")
        return Typed(self._as(value, _TYPES[target]), _TYPES[target])

    # --- functions -----------------------------------------------------------------------

    def _call(self, name: str, arguments: Sequence[exp.Expr]) -> Typed:
        if name in UNSTABLE:
            raise self._invalid(f"{name} gives another result at every run")
        special = self._special(name, arguments)
        if special is not None:
            return special
        overloads = FUNCTIONS.get(ALIASES.get(name, name))
        if overloads is None:
            raise Unportable(f"function {name}")
        fitting = [entry for entry in overloads if len(entry.takes) == len(arguments)]
        if not fitting:
            raise Unportable(f"function {name} with {len(arguments)} arguments")
        values = [self.compile(argument) for argument in arguments]
        entry = next((e for e in fitting if _fits_exactly(values, e.takes)), fitting[-1])
        for index in entry.literal:
            argument = arguments[index]
            if not isinstance(argument, exp.Literal) or not argument.this:
                raise Unportable(f"function {name} with a computed or empty argument {index + 1}")
        texts = [self._argument(name, v, a) for v, a in zip(values, entry.takes, strict=True)]
        return self._apply(entry, values, texts)

    def _apply(self, entry: Function, values: Sequence[Typed], texts: Sequence[str]) -> Typed:
        template = entry.spark if self._dialect.name == "spark" else entry.duckdb
        kind = values[0].kind if entry.gives == "same" else entry.gives
        return Typed(f"({template.format(*texts)})", kind)

    def _special(self, name: str, arguments: Sequence[exp.Expr]) -> Typed | None:
        """Functions of any number or type of arguments."""
        count = len(arguments)
        if name in ("coalesce", "nvl", "ifnull") and count:
            values, kind = self._unified(arguments)
            return Typed(f"coalesce({', '.join(values)})", kind)
        if name in ("greatest", "least") and count >= 2:
            values, kind = self._unified(arguments)
            return Typed(f"{name}({', '.join(values)})", kind)
        if name == "nullif" and count == 2:
            left, right = map(self.compile, arguments)
            one, other = self._comparable([left, right])
            return Typed(f"CASE WHEN {one} = {other} THEN NULL ELSE {left.sql} END", left.kind)
        if name == "nvl2" and count == 3:
            test = exp.Not(this=exp.Is(this=arguments[0], expression=exp.Null()))
            return self._choice([test], [arguments[1]], arguments[2])
        if name in ("isnull", "isnotnull") and count == 1:
            words = "IS NULL" if name == "isnull" else "IS NOT NULL"
            return Typed(f"({self.compile(arguments[0]).sql} {words})", "boolean")
        if name == "concat" and count:
            return self._concat(arguments)
        if name == "concat_ws" and count >= 2:
            texts = [self._as(self.compile(argument), "string") for argument in arguments]
            return Typed(f"concat_ws({', '.join(texts)})", "string")
        if name in ("substring", "substr") and count in (2, 3):
            return self._substring(arguments)
        if name in ("regexp_like", "rlike", "regexp") and count == 2:
            return self._matches(arguments)
        if name in ("regexp_extract", "regexp_replace") and count in (2, 3):
            return self._regexp(name, arguments)
        if name == "trunc" and count == 2:
            return self._truncated(arguments[0], arguments[1], "date")
        if name == "date_trunc" and count == 2:
            return self._truncated(arguments[1], arguments[0], "timestamp")
        if name == "pow" or name == "power":
            return self._power(*arguments) if count == 2 else None
        if name == "mod" and count == 2:
            return self._remainder(*arguments)
        if name in ("double", "bigint", "string", "boolean") and count == 1:
            value = self.compile(arguments[0])
            return Typed(self._as(value, name), name)  # type: ignore[arg-type]
        return None

    def _substring(self, arguments: Sequence[exp.Expr]) -> Typed:
        text = self._argument("substring", self.compile(arguments[0]), "string")
        start, *length = [self._written_number(argument) for argument in arguments[1:]]
        return Typed(self._dialect.substring(text, start, length[0] if length else None), "string")

    def _written_number(self, node: exp.Expr) -> int:
        digits = node.this if isinstance(node, exp.Neg) else node
        if not (isinstance(digits, exp.Literal) and digits.this.isdigit()):
            raise Unportable(f"the computed number {node.sql(dialect=PlainSpark)[:100]}")
        return -int(digits.this) if isinstance(node, exp.Neg) else int(digits.this)

    def _written_text(self, node: exp.Expr) -> str:
        if not (isinstance(node, exp.Literal) and node.is_string):
            raise Unportable(f"the computed text {node.sql(dialect=PlainSpark)[:100]}")
        return node.this

    def _pattern(self, node: exp.Expr) -> tuple[str, str]:
        text = self._written_text(node)
        found = portable(text)
        if found is None:
            raise Unportable(f"the regular expression {text}")
        return text, self._dialect.text(found[0] if self._dialect.name == "spark" else found[1])

    def _matches(self, arguments: Sequence[exp.Expr]) -> Typed:
        text = self._argument("rlike", self.compile(arguments[0]), "string")
        return Typed(
            f"{self._dialect.regexp_like}({text}, {self._pattern(arguments[1])[1]})", "boolean"
        )

    def _regexp(self, name: str, arguments: Sequence[exp.Expr]) -> Typed:
        text = self._argument(name, self.compile(arguments[0]), "string")
        pattern, quoted = self._pattern(arguments[1])
        if name == "regexp_extract":
            group = self._written_number(arguments[2]) if len(arguments) == 3 else 1
            if not 0 <= group <= re.compile(pattern).groups:
                raise self._invalid(f"the regular expression {pattern} has no group {group}")
            return Typed(f"regexp_extract({text}, {quoted}, {group})", "string")
        replacement = self._written_text(arguments[2]) if len(arguments) == 3 else None
        if replacement is None or "$" in replacement or "\\" in replacement:
            raise Unportable("regexp_replace with a replacement that refers to the match")
        if matches_nothing(pattern):
            raise Unportable(f"regexp_replace of {pattern}, which matches an empty text")
        value = self._dialect.text(replacement)
        return Typed(
            f"regexp_replace({text}, {quoted}, {value}{self._dialect.regexp_global})", "string"
        )

    def _truncated(self, node: exp.Expr, unit: exp.Expr, kind: ColumnType) -> Typed:
        name = TRUNCATIONS.get(self._written_text(unit).lower())
        if name is None or (kind == "date" and name in ("day", "hour", "minute", "second")):
            raise Unportable(f"truncation to {unit.this}")
        value = self._argument("trunc", self.compile(node), kind)
        call = f"date_trunc({self._dialect.text(name)}, {value})"
        return Typed(f"CAST({call} AS {self._dialect.type_name(kind)})", kind)

    def _power(self, base: exp.Expr, exponent: exp.Expr) -> Typed:
        """Only where Java's pow is a simple thing: the C library's differs in the last bit."""
        value = self._as(self._number(base), "double")
        written = exponent.sql(dialect=PlainSpark)
        one = self._dialect.double(1.0)
        # The square of an infinity and the root of a negative number are null, as is 0 ** -1.
        forms = {
            "0": f"CASE WHEN {value} IS NOT NULL THEN {one} END",
            "1": value,
            "2": f"({value} * {value})",
            "0.5": f"sqrt(CASE WHEN {value} >= 0 THEN {value} END)",
            "-1": f"({one} / nullif({value}, {self._dialect.double(0.0)}))",
        }
        if written not in forms:
            raise Unportable(f"pow with the exponent {written}")
        return Typed(forms[written], "double")

    def _argument(self, name: str, value: Typed, takes: Argument) -> str:
        if takes == "any":
            return value.sql
        if takes == "number":
            return value.sql
        allowed: dict[str, tuple[Kind, ...]] = {
            "double": ("bigint", "boolean"),
            "date": ("timestamp", "string"),
            "timestamp": ("date", "string"),
            "string": ("boolean", "bigint", "double", "date", "timestamp"),
        }
        if value.kind not in (takes, "null", *allowed.get(takes, ())):
            raise self._invalid(f"function {name} does not take a {value.kind}")
        return self._as(value, takes)

    # --- types ---------------------------------------------------------------------------

    def _number(self, node: exp.Expr) -> Typed:
        value = self.compile(node)
        if value.kind == "null":
            return Typed(self._as(value, "bigint"), "bigint")
        if value.kind not in ("bigint", "double"):
            text = node.sql(dialect=PlainSpark)
            raise self._invalid(f"{text} is a {value.kind}, not a number: cast it first")
        return value

    def condition(self, node: exp.Expr) -> str:
        """An expression that must be a boolean."""
        value = self.compile(node)
        if value.kind not in ("boolean", "null"):
            text = node.sql(dialect=PlainSpark)
            raise self._invalid(f"{text} is a {value.kind}, not a condition")
        return self._as(value, "boolean")

    def _unified(self, nodes: Sequence[exp.Expr]) -> tuple[list[str], Kind]:
        """Expressions brought to one type."""
        values = [self.compile(node) for node in nodes]
        kind: Kind = "null"
        for value in values:
            kind = common_kind(kind, value.kind)
        if kind == "null":
            return [value.sql for value in values], kind
        return [self._as(value, kind) for value in values], kind

    def _comparable(self, values: Sequence[Typed]) -> list[str]:
        """Values brought to the type in which Spark compares them: text gives way."""
        kinds = {value.kind for value in values} - {"null"}
        others = kinds - {"string"}
        if kinds <= {"string"}:
            kind: Kind = "string"
        elif others <= {"bigint"} and "string" in kinds:
            kind = "double"
        else:
            kind = "null"
            for other in sorted(others):
                kind = (
                    "bigint" if {kind, other} == {"boolean", "bigint"} else common_kind(kind, other)
                )
            if kind == "string" or (kind == "boolean" and "string" in kinds):
                raise self._invalid(f"cannot compare {' with '.join(sorted(kinds))}")
        assert kind != "null"
        return [self._as(value, kind) for value in values]

    def _as(self, value: Typed, kind: ColumnType) -> str:
        if value.kind == "null":
            return self._dialect.literal(None, kind)
        return self._dialect.cast(value.sql, value.kind, kind)

    def _invalid(self, what: str) -> StageFailure:
        return StageFailure("ExpressionInvalid", f"{self._where}: {what}")


def common_kind(one: Kind, other: Kind) -> Kind:
    """The type that holds values of both; text holds any."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if {one, other} == {"bigint", "double"}:
        return "double"
    if {one, other} == {"date", "timestamp"}:
        return "timestamp"
    return "string"


def _fits_exactly(values: Sequence[Typed], takes: Sequence[Argument]) -> bool:
    return all(value.kind == kind for value, kind in zip(values, takes, strict=True))
