"""Spark's SQL as syntax trees."""

from __future__ import annotations

from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ParseError, SqlglotError

from .names import one_line


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
    what = found["description"]
    # It names the class of the node that has no operand.
    if what.startswith("Required keyword"):
        what = "something is missing"
    return f"{what} (line {found['line']}, column {found['col']})"


def text_of(node: exp.Expr) -> str:
    """A part of an expression for a message."""
    return node.sql(dialect=PlainSpark)[:100]
