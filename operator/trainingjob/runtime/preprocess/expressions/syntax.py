"""Spark's SQL as syntax trees of which no word is lost.

The parser puts words into a node's parts (``NOT LIKE`` is a ``Like`` with ``negate``), and every
version of it into other ones. So a tree notes which parts are read, and ``refuse_unread`` refuses
it when one with a meaning was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError

from ...base.text import one_line


class PlainSpark(Spark):
    """Spark's syntax with every function call left as it is written."""

    class Tokenizer(Spark.Tokenizer):  # type: ignore[misc, valid-type]
        # 'it''s' is one text, as in Spark 4, and not two.
        STRING_ESCAPES: ClassVar[list[str]] = ["\\", "'", '"']

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


class _Parts(dict[str, Any]):
    """The parts of a node, and which of them were read."""

    def __init__(self, parts: dict[str, Any]) -> None:
        super().__init__(parts)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


# Parts that change nothing: Spark's names in backquotes are as blind to case as others, and the
# parser marks every ``||`` and ``/`` as Spark's.
_WITHOUT_MEANING = {(exp.Identifier, "quoted"), (exp.DPipe, "safe"), (exp.Div, "safe")}
# The word of a part, where it is not the part's name.
_WORDS = {"negate": "NOT"}

_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_PREDICATES = (exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.RegexpLike, exp.Escape)
_SUMS = (exp.Add, exp.Sub, exp.DPipe)
_PRODUCTS = (exp.Mul, exp.Div, exp.IntDiv, exp.Mod)
# How tightly Spark binds operators: the higher, the tighter.
_TIGHTNESS: dict[type[exp.Expr], int] = {
    exp.Or: 1,
    exp.And: 2,
    exp.Not: 3,
    **dict.fromkeys((*_COMPARISONS, *_PREDICATES), 4),
    **dict.fromkeys(_SUMS, 5),
    **dict.fromkeys(_PRODUCTS, 6),
}
_TIGHTEST = 7


def parse(text: str) -> exp.Expr:
    """The syntax tree, whose nodes note which of their parts are read; raises NotParsed, or
    Unportable where Spark would bind its operators in another way."""
    try:
        tree = sqlglot.parse_one(text, dialect=PlainSpark)
    except SqlglotError as error:
        raise NotParsed(f"{text[:200]}: {_syntax_error(error)}") from error
    for node in tree.walk():
        for operand, at_least in _operands(node):
            if _TIGHTNESS.get(type(operand), _TIGHTEST) < at_least:
                raise Unportable(f"{text_of(node)} without parentheses")
    for node in tree.walk():
        node.args = _Parts(node.args)
    return tree


def refuse_unread(tree: exp.Expr, text: str) -> None:
    """Raises Unportable when a node has a part with a meaning that nobody has read; ``text`` is
    what the user wrote."""
    for node in tree.walk():
        parts = node.args
        assert isinstance(parts, _Parts)
        for key, value in parts.items():
            if value and key not in parts.read and (type(node), key) not in _WITHOUT_MEANING:
                word = _WORDS.get(key, key.strip("_").upper().replace("_", " "))
                raise Unportable(f"{word} in {text[:100]}")


def _operands(node: exp.Expr) -> Iterator[tuple[Any, int]]:
    """Operands of an operator, and how tightly each must bind to stand without parentheses."""
    tightness = _TIGHTNESS.get(type(node))
    if tightness is None:
        return
    # Spark reads operators of one rank from the left, and does not put two predicates in a row.
    from_left = not isinstance(node, (*_COMPARISONS, *_PREDICATES))
    escaped = isinstance(node, exp.Escape)
    for key in ("this", "expression", "low", "high"):
        chained = key == "this" and (from_left or escaped)
        logic = isinstance(node, exp.And | exp.Or)
        yield node.args.get(key), tightness + (0 if chained or logic else 1)


def _syntax_error(error: SqlglotError) -> str:
    found = error.errors[0] if isinstance(error, ParseError) and error.errors else None
    if not found:
        return one_line(error)
    what = found["description"]
    # It names the class of the node that has no operand.
    if what.startswith("Required keyword"):
        what = "something is missing"
    return f"{what} (line {found['line']}, column {found['col']})"


def text_of(node: exp.Expr) -> str:
    """A part of an expression for a message."""
    return node.sql(dialect=PlainSpark, unsupported_level=ErrorLevel.IGNORE)[:100]


def spelled(node: exp.Expr) -> str:
    """A part of an expression in capitals, read by its text."""
    return node.sql(dialect=PlainSpark, copy=False).upper()


def written_text(node: Any) -> str | None:
    """The text of a literal, of a raw one, and of some in a row; None for what is no literal."""
    if isinstance(node, exp.RawString) or (isinstance(node, exp.Literal) and node.is_string):
        return node.this
    if isinstance(node, exp.Concat):
        parts = [written_text(part) for part in node.expressions]
        return None if None in parts else "".join(part or "" for part in parts)
    return None
