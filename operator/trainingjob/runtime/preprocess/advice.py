"""What to do about a column, seeing what its values look like: remedies that fit the case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainingjob.api.v1alpha1.input import ColumnType

from .engines.frame import Engine, Frame
from .names import quoted

_TRUE = ("true", "t", "yes", "y", "1", "on", "ja", "oui", "si", "sí")
_FALSE = ("false", "f", "no", "n", "0", "off", "nein", "non")
# As Spark's cast to boolean takes them.
_CAST_TO_BOOLEAN = ("true", "t", "yes", "y", "1", "false", "f", "no", "n", "0")

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_DECORATED = re.compile(r"[^\d\w.,]*[+-]?[^\d\w.,]*\d[\d,]*(\.\d+)?\s*[^\d\s.,]{0,3}")
_DAY_FIRST = re.compile(r"\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})")
_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DIGITS = re.compile(r"[+-]?\d+")
_ZEROS = re.compile(r"[+-]?0\d+")
# What tools write for a null.
_NULLS = ("na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "missing")
# Values that oneHot takes unasked.
_FEW = 100
# Columns that get advice in one message.
_MOST = 3


def number_expression(name: str, values: Sequence[str]) -> str | None:
    """The expression of a withColumn that reads such texts as numbers; None if there is none."""
    column = f"`{name}`" if not re.fullmatch(r"[A-Za-z_]\w*", name) else name
    texts = [value.strip() for value in values]
    if not texts:
        return None
    if all(_DECIMAL_COMMA.fullmatch(text) for text in texts) and not all(
        re.fullmatch(r"\d{1,3}(,\d{3})+", text) for text in texts
    ):
        inner = f"replace({column}, '.', '')" if any("." in text for text in texts) else column
        return f"cast(replace({inner}, ',', '.') as double)"
    if all(_DECORATED.fullmatch(text) for text in texts) and not all(
        _NUMBER.fullmatch(text) for text in texts
    ):
        return f"cast(regexp_replace({column}, '[^0-9.+-]', '') as double)"
    return None


def of_cast(name: str, source: ColumnType, target: ColumnType, lost: Sequence[str]) -> str:
    """To a cast that made null of these values, of which there may be more."""
    if source != "string":
        if (source, target) == ("double", "bigint"):
            return "they are beyond 64 bits: leave the column a double"
        return f"no {source} is a {target}: leave the cast out, or compute what is meant"
    texts = [value.strip() for value in lost]
    lower = [text.lower() for text in texts]
    if target in ("bigint", "double"):
        if texts and all(text in _NULLS for text in lower):
            return "set input.options.nullValue to what stands for null, or fill them with fillna"
        if target == "bigint" and texts and all(map(_NUMBER.fullmatch, texts)):
            return "they have a fraction, or are beyond 64 bits: cast to double"
        expression = number_expression(name, lost)
        if expression is not None:
            return f'use `withColumn: {{name: {name}, expr: "{expression}"}}` instead'
        if texts and all(text in _TRUE + _FALSE for text in lower):
            return "cast to boolean first"
        return "use oneHot or encodeLabels for categories"
    if target == "boolean":
        return (
            f"write which of them are true: `withColumn: {{name: {name}, expr: \"{name} = '…'\"}}`"
        )
    if texts and all(_DAY_FIRST.fullmatch(text) for text in texts):
        return (
            "days are read as yyyy-mm-dd: with engine spark, "
            f"`withColumn: {{name: {name}, expr: \"to_date({name}, 'dd/MM/yyyy')\"}}`"
        )
    return "days are read as yyyy-mm-dd, times as yyyy-mm-dd hh:mm:ss"


@dataclass(frozen=True)
class Texts:
    """A column of texts in a few figures: its rows with a value, its different values, those that
    are numbers, the length of the longest, the least and the greatest."""

    rows: int
    distinct: int
    numbers: int
    longest: int
    ends: tuple[str, ...]


def of_text(name: str, found: Texts) -> str:
    """To a feature that is text, for a model that takes numbers."""
    if not found.rows:
        return "it has no values: drop it"
    texts = [value.strip() for value in found.ends]
    if {text.lower() for text in texts} <= set(_CAST_TO_BOOLEAN) and found.distinct <= 4:
        return f"it says yes and no: `cast: {{columns: {{{name}: boolean}}}}`"
    if found.numbers == found.rows and any(map(_ZEROS.fullmatch, texts)):
        return (
            "its digits have leading zeros, as codes have: oneHot for a few codes, "
            f"`cast: {{columns: {{{name}: bigint}}}}` for a quantity"
        )
    if found.numbers == found.rows:
        return f"all of it is numbers: `cast: {{columns: {{{name}: double}}}}`"
    if found.numbers >= found.rows / 2:
        others = " and ".join(quoted(text) for text in texts if not _NUMBER.fullmatch(text))
        return (
            f"{found.numbers} of {found.rows} values are numbers, others are not"
            f"{f', e.g. {others}' if others else ''}: set input.options.nullValue if that stands "
            f"for null, or `cast: {{columns: {{{name}: double}}}}`, which makes null of it"
        )
    expression = number_expression(name, found.ends)
    if expression is not None:
        step = f'withColumn: {{name: {name}, expr: "{expression}"}}'
        return f"it holds numbers in another form: `{step}`"
    if all(_DAY.fullmatch(text) or _DAY_FIRST.fullmatch(text) for text in texts):
        return "it holds days: compute numbers of it with withColumn, as the year or the month"
    if found.distinct > found.rows * 0.5 and found.distinct > 10:
        what = "text" if found.longest > 30 else "value"
        return (
            f"nearly every row has a {what} of its own, of which no encoding makes a feature: "
            "drop it, or compute numbers of it in preprocess.script"
        )
    if found.distinct <= _FEW:
        return f"it has {found.distinct} categories: `oneHot: {{columns: [{name}]}}`"
    return (
        f"it has {found.distinct} categories: make fewer of them with withColumn, then oneHot; "
        "encodeLabels would give them an order that they do not have"
    )


def of_features(engine: Engine, frame: Frame, features: Sequence[str]) -> str:
    """To features that are no numbers: a piece of advice for each of the first ones."""
    dialect = engine.dialect
    texts = [name for name in features if frame.columns[name] == "string"][:_MOST]
    figures: list[str] = []
    for name in texts:
        column = dialect.ident(name)
        figures += [
            f"count({column})",
            f"count(DISTINCT {column})",
            f"count({dialect.cast(column, 'string', 'double')})",
            f"coalesce(max(length({column})), 0)",
            *(f"{end}({dialect.substring(column, 1, 64)})" for end in ("min", "max")),
        ]
    found = engine.rows(f"SELECT {', '.join(figures)} FROM {frame.view}")[0] if texts else ()
    parts = []
    for index, name in enumerate(texts):
        rows, distinct, numbers, longest, least, most = found[6 * index : 6 * index + 6]
        ends = tuple(dict.fromkeys(end for end in (least, most) if end is not None))
        parts.append(f"{name}: {of_text(name, Texts(rows, distinct, numbers, longest, ends))}")
    parts += [
        f"{name} is a {frame.columns[name]}: compute numbers of it with withColumn, as the year "
        "or the month"
        for name in features
        if frame.columns[name] in ("date", "timestamp")
    ][: max(0, _MOST - len(parts))]
    return "; ".join(parts)
