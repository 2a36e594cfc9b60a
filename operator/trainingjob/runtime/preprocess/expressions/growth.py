"""How long the text may become that an expression makes: an engine makes it before anybody sees
that it has gigabytes."""

from __future__ import annotations

from sqlglot import exp

from ...base.errors import StageFailure
from .syntax import text_of

# Characters of a text that an expression makes, where those of a column have as many as here.
MOST = 2**20
OF_COLUMN = 1024
_OF_OTHERS = 64  # numbers and times
_REPLACING = ("replace", "regexp_replace")
_PADDING = ("lpad", "rpad")


def refuse_growth(tree: exp.Expr, where: str) -> None:
    """Raises StageFailure(ExpressionInvalid) for an expression of which a part is a longer text
    than ``MOST``."""
    characters: dict[int, int] = {}
    # From the leaves up, without recursion.
    for node in reversed(list(tree.bfs())):
        found = _characters(node, [characters[id(child)] for child in node.iter_expressions()])
        if found > MOST:
            raise StageFailure(
                "ExpressionInvalid",
                f"{where}: {text_of(node)} makes a text of up to {found} characters, where a "
                f"column's have {OF_COLUMN}; it may have {MOST}",
            )
        characters[id(node)] = found


def _characters(node: exp.Expr, of: list[int]) -> int:
    """Of a node's value at most; ``of``: of its children's."""
    if isinstance(node, exp.Column):
        return OF_COLUMN
    if isinstance(node, exp.Literal):
        return len(node.this) if node.is_string else _OF_OTHERS
    if isinstance(node, exp.Concat | exp.DPipe):
        return sum(of)
    if not isinstance(node, exp.Anonymous):
        return max([_OF_OTHERS, *of])
    name, arguments = node.name.lower(), node.expressions
    if name == "concat":
        return sum(of)
    if name == "concat_ws" and of:
        return sum(of) + of[0] * len(of)
    if name == "repeat" and len(of) == 2:
        return of[0] * _number(arguments[1])
    if name in _PADDING and len(of) > 1:
        return _number(arguments[1])
    if name in _REPLACING and len(of) == 3:
        return of[0] * max(1, of[2])
    return max([_OF_OTHERS, *of])


def _number(node: exp.Expr) -> int:
    """One that is written; of others nothing is known."""
    return int(node.this) if isinstance(node, exp.Literal) and node.this.isdecimal() else 1
