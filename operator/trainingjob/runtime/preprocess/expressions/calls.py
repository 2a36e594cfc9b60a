"""Calls of functions: those of ``functions.py``, and those that take any number or type of
arguments, or an argument that must be written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from trainingjob.api.v1alpha1.input import ColumnType

from .date_formats import BadFormat, date_format
from .functions import ALIASES, FUNCTIONS, TRUNCATIONS, UNSTABLE
from .patterns import matches_nothing, portable
from .syntax import Unportable, text_of, written_text
from .typed import Kind, Typed

if TYPE_CHECKING:
    from .compiler import Compiler

Arguments = Sequence[exp.Expr]

# What Spark converts unasked to the type that a function takes.
_CONVERTED: dict[ColumnType, tuple[Kind, ...]] = {
    "double": ("bigint", "boolean"),
    "date": ("timestamp", "string"),
    "timestamp": ("date", "string"),
    "string": ("boolean", "bigint", "double", "date", "timestamp"),
}


def call(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    """A function by its name in lower case."""
    if name in UNSTABLE:
        raise compiler.invalid(f"{name} gives another result at every run")
    if name in _SPECIAL:
        counts, function = _SPECIAL[name]
        if len(arguments) not in counts:
            raise Unportable(f"function {name} with {len(arguments)} arguments")
        return function(compiler, name, arguments)
    overloads = FUNCTIONS.get(ALIASES.get(name, name))
    if overloads is None:
        raise Unportable(f"function {name}")
    fitting = [entry for entry in overloads if len(entry.takes) == len(arguments)]
    if not fitting:
        raise Unportable(f"function {name} with {len(arguments)} arguments")
    values = [compiler.compile(argument) for argument in arguments]
    kinds = tuple(value.kind for value in values)
    entry = next((entry for entry in fitting if entry.takes == kinds), fitting[-1])
    for index in entry.literal:
        argument = arguments[index]
        if not isinstance(argument, exp.Literal) or not argument.this:
            raise Unportable(f"function {name} with a computed or empty argument {index + 1}")
    texts = [_taken(compiler, name, v, kind) for v, kind in zip(values, entry.takes, strict=True)]
    template = entry.spark if compiler.dialect.name == "spark" else entry.duckdb
    return Typed(f"({template.format(*texts)})", entry.gives)


def matches(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    """Whether a part of a text matches a regular expression."""
    text = _text(compiler, name, arguments[0])
    _, pattern = _pattern(compiler, arguments[1])
    return Typed(f"{compiler.dialect.regexp_like}({text}, {pattern})", "boolean")


def concat(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    """Texts one after the other; null when one of them is."""
    texts = [compiler.as_kind(compiler.compile(part), "string") for part in arguments]
    return Typed(f"({' || '.join(texts)})", "string")


def _coalesce(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    values, kind = compiler.unified(arguments)
    return Typed(f"coalesce({', '.join(values)})", kind)


def _extreme(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    values, kind = compiler.unified(arguments)
    kinds = {compiler.compile(part).kind for part in arguments} - {"null"}
    if kind == "string" and kinds != {"string"}:
        raise compiler.invalid(f"{name} takes arguments of one type: cast the others")
    return Typed(f"{name}({', '.join(values)})", kind)


def _nullif(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    left, right = map(compiler.compile, arguments)
    one, other = compiler.comparable([left, right])
    return Typed(f"CASE WHEN {one} = {other} THEN NULL ELSE {left.sql} END", left.kind)


def _nvl2(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    present = f"({compiler.compile(arguments[0]).sql} IS NOT NULL)"
    return compiler.choice([present], [arguments[1]], arguments[2])


def _is_null(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    words = "IS NULL" if name == "isnull" else "IS NOT NULL"
    return Typed(f"({compiler.compile(arguments[0]).sql} {words})", "boolean")


def _concat_ws(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    texts = [compiler.as_kind(compiler.compile(part), "string") for part in arguments]
    return Typed(f"concat_ws({', '.join(texts)})", "string")


def _substring(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    text = _text(compiler, name, arguments[0])
    start, *length = [_written_number(argument) for argument in arguments[1:]]
    return Typed(compiler.dialect.substring(text, start, length[0] if length else None), "string")


def _regexp_extract(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    text = _text(compiler, name, arguments[0])
    pattern, quoted = _pattern(compiler, arguments[1])
    group = _written_number(arguments[2]) if len(arguments) == 3 else 1
    if not 0 <= group <= re.compile(pattern).groups:
        raise compiler.invalid(f"the regular expression {pattern} has no group {group}")
    return Typed(f"regexp_extract({text}, {quoted}, {group})", "string")


def _regexp_replace(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    text = _text(compiler, name, arguments[0])
    pattern, quoted = _pattern(compiler, arguments[1])
    replacement = _written_text(arguments[2])
    if "$" in replacement or "\\" in replacement:
        raise Unportable("regexp_replace with a replacement that refers to the match")
    if matches_nothing(pattern):
        raise Unportable(f"regexp_replace of {pattern}, which matches an empty text")
    value = compiler.dialect.text(replacement)
    return Typed(
        f"regexp_replace({text}, {quoted}, {value}{compiler.dialect.regexp_global})", "string"
    )


def _trunc(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    return _truncated(compiler, name, arguments[0], arguments[1], "date")


def _date_trunc(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    return _truncated(compiler, name, arguments[1], arguments[0], "timestamp")


def _truncated(
    compiler: Compiler, name: str, node: exp.Expr, unit: exp.Expr, kind: ColumnType
) -> Typed:
    to = TRUNCATIONS.get(_written_text(unit).lower())
    if to is None or (kind == "date" and to in ("day", "hour", "minute", "second")):
        raise Unportable(f"truncation to {unit.this}")
    value = _taken(compiler, name, compiler.compile(node), kind)
    dialect = compiler.dialect
    cut = f"date_trunc({dialect.text(to)}, {value})"
    return Typed(f"CAST({cut} AS {dialect.type_name(kind)})", kind)


def _parsed(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    kind: ColumnType = "date" if name == "to_date" else "timestamp"
    value = compiler.compile(arguments[0])
    if len(arguments) == 1 or value.kind not in ("string", "bigint", "null"):
        return Typed(_taken(compiler, name, value, kind), kind)
    try:
        written = date_format(_written_text(arguments[1]))
    except BadFormat as error:
        raise Unportable(f"{name} with {error}") from error
    return Typed(written.read(compiler.dialect, compiler.as_kind(value, "string"), kind), kind)


def _mod(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    return compiler.remainder(arguments[0], arguments[1])


def _unix_timestamp(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    value = compiler.compile(arguments[0])
    if value.kind == "string":  # in one format only, and not in all that a cast takes
        raise Unportable(f"{name} of a text")
    micros = compiler.dialect.epoch_micros(_taken(compiler, name, value, "timestamp"))
    return Typed(compiler.dialect.whole_division(micros, "1000000"), "bigint")


def _conversion(compiler: Compiler, name: str, arguments: Arguments) -> Typed:
    kind: ColumnType = name  # type: ignore[assignment]
    return compiler.converted(arguments[0], kind)


def _text(compiler: Compiler, name: str, node: exp.Expr) -> str:
    return _taken(compiler, name, compiler.compile(node), "string")


def _taken(compiler: Compiler, name: str, value: Typed, takes: ColumnType) -> str:
    """An argument as the type that the function takes."""
    if value.kind not in (takes, "null", *_CONVERTED.get(takes, ())):
        raise compiler.invalid(f"function {name} does not take a {value.kind}")
    return compiler.as_kind(value, takes)


def _written_number(node: exp.Expr) -> int:
    digits = node.this if isinstance(node, exp.Neg) else node
    if not (isinstance(digits, exp.Literal) and re.fullmatch("[0-9]+", digits.this)):
        raise Unportable(f"the computed number {text_of(node)}")
    return -int(digits.this) if isinstance(node, exp.Neg) else int(digits.this)


def _written_text(node: exp.Expr) -> str:
    text = written_text(node)
    if text is None:
        raise Unportable(f"the computed text {text_of(node)}")
    return text


def _pattern(compiler: Compiler, node: exp.Expr) -> tuple[str, str]:
    """A regular expression as it is written, and as the engine's literal."""
    text = _written_text(node)
    found = portable(text)
    if found is None:
        raise Unportable(f"the regular expression {text}")
    java, re2 = found
    return text, compiler.dialect.text(java if compiler.dialect.name == "spark" else re2)


# How many arguments they take, and what writes them.
_ANY = range(1, 10_000)
_SPECIAL: dict[str, tuple[range, Callable[[Compiler, str, Arguments], Typed]]] = {
    "coalesce": (_ANY, _coalesce),
    **dict.fromkeys(("nvl", "ifnull"), (range(2, 3), _coalesce)),
    **dict.fromkeys(("greatest", "least"), (_ANY[1:], _extreme)),
    "nullif": (range(2, 3), _nullif),
    "nvl2": (range(3, 4), _nvl2),
    **dict.fromkeys(("isnull", "isnotnull"), (range(1, 2), _is_null)),
    "concat": (_ANY, concat),
    "concat_ws": (_ANY[1:], _concat_ws),
    **dict.fromkeys(("substring", "substr"), (range(2, 4), _substring)),
    **dict.fromkeys(("regexp_like", "rlike", "regexp"), (range(2, 3), matches)),
    "regexp_extract": (range(2, 4), _regexp_extract),
    "regexp_replace": (range(3, 4), _regexp_replace),
    **dict.fromkeys(("to_date", "to_timestamp"), (range(1, 3), _parsed)),
    "trunc": (range(2, 3), _trunc),
    "date_trunc": (range(2, 3), _date_trunc),
    "mod": (range(2, 3), _mod),
    "unix_timestamp": (range(1, 2), _unix_timestamp),
    **dict.fromkeys(("double", "bigint", "string", "boolean"), (range(1, 2), _conversion)),
}
