"""What to do about a column, seeing what its values look like: remedies that fit the case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainingjob.api.v1alpha1.input import ColumnType

from .engines.frame import Engine, Frame
from .expressions.date_formats import date_format, formats_of
from .names import flow, in_sql, quoted
from .written import Written

_TRUE = ("true", "t", "yes", "y", "1", "on", "ja", "oui", "si", "sí")
_FALSE = ("false", "f", "no", "n", "0", "off", "nein", "non")
# As Spark's cast to boolean takes them.
_CAST_TO_BOOLEAN = ("true", "t", "yes", "y", "1", "false", "f", "no", "n", "0")

_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?")
_MOMENT = re.compile(r"[\d-]+[T ]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?( *(Z|UTC|[+-][\d:]+))?)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ZEROS = re.compile(r"[+-]?0\d+")
# What tools write for a null.
_NULLS = ("na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "missing")
# What stands beside the digits of a number: before them with a blank, for u5 is a code.
_BESIDE = re.compile(r"(?:([^\d\s.,+()%$€£¥-]{1,16})\s+)?[\d.,' ]+\s*([^\d\s.,+()%$€£¥-]{1,16})?")
# Categories that oneHot takes unasked, and at most.
_FEW = 100
_MOST_ONE_HOT = 1000
# Of the year 9999.
_END_OF_SECONDS = 253402300800
# Characters of a text that is no name of a category.
_LONG = 60
# Columns that get advice in one message.
_MOST = 3


def parse_step(name: str, values: Sequence[str]) -> str | None:
    """The step that reads such texts as numbers; None if there is none."""
    texts = [value.strip() for value in values]
    if not texts or all(map(_NUMBER.fullmatch, texts)):
        return None
    for decimal, field in ((".", ""), (",", "decimal: ','")):
        written = Written(decimal)
        if all(map(written.fits, texts)):
            return _parse_step(name, field)
        units = _units(texts)
        if units and all(map(Written(decimal, units).fits, texts)):
            return _parse_step(name, field, f"units: [{', '.join(units)}]")
    return None


def _parse_step(name: str, *fields: str) -> str:
    others = "".join(f", {field}" for field in fields if field)
    return f"`parseNumber: {{columns: [{flow(name)}]{others}}}`"


def _units(texts: Sequence[str]) -> tuple[str, ...]:
    """What stands before and behind the digits of all of them."""
    found = [match for match in map(_BESIDE.fullmatch, texts) if match]
    units = dict.fromkeys(unit for match in found for unit in match.groups() if unit)
    return tuple(units) if len(found) == len(texts) and len(units) <= 3 else ()


def of_number(name: str, written: Written, lost: Sequence[str]) -> str:
    """To a parseNumber that cannot read these of its texts."""
    texts = [value.strip() for value in lost]
    if texts and all(text.lower() in _NULLS for text in texts):
        return "set input.options.nullValues to what stands for null, or `invalid: setNull` here"
    if texts and all(map(written.fits, texts)):
        return (
            "they are beyond doubles, which end at 1.8e308: `invalid: setNull` makes null of them"
        )
    other = "," if written.decimal == "." else "."
    if texts and all(map(Written(other, written.units).fits, texts)):
        return f"set `decimal: '{other}'` if that is their decimal mark"
    units = _units(texts)
    if units and all(map(Written(written.decimal, (*written.units, *units)).fits, texts)):
        return f"set `units: [{', '.join((*written.units, *units))}]`"
    return "`invalid: setNull` makes null of them"


def of_cast(name: str, source: ColumnType, target: ColumnType, lost: Sequence[str]) -> str:
    """To a cast that made null of these values, of which there may be more."""
    if source != "string":
        if (source, target) == ("double", "bigint"):
            return "they are beyond 64 bits: leave the column a double"
        if target == "timestamp" and lost:
            return _of_epochs(name, lost)
        return f"no {source} is a {target}: leave the cast out, or compute what is meant"
    texts = [value.strip() for value in lost]
    lower = [text.lower() for text in texts]
    if target in ("bigint", "double"):
        if texts and all(text in _NULLS for text in lower):
            return "set input.options.nullValues to what stands for null, or fill them with fillna"
        if target == "bigint" and texts and all(map(_NUMBER.fullmatch, texts)):
            return "they have a fraction, or are beyond 64 bits: cast to double"
        step = parse_step(name, lost)
        if step is not None:
            return f"use {step} instead"
        if texts and all(text in _TRUE + _FALSE for text in lower):
            return "cast to boolean first"
        return "use oneHot for categories, hashText or tfidf for free text"
    if target == "boolean":
        return (
            f"write which of them are true: `withColumn: {{name: {name}, expr: \"{name} = '…'\"}}`"
        )
    if (step := _day_step(name, texts)) is not None:
        return f"use {step} instead, with the format that is meant{_years(step)}"
    return "days are read as yyyy-mm-dd, times as yyyy-mm-dd hh:mm:ss"


def _of_epochs(name: str, lost: Sequence[str]) -> str:
    """To numbers that are no seconds since 1970, being too many for the years up to 9999."""
    most = max(abs(float(text)) for text in lost)
    parts = {"milliseconds": 1000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
    for unit, part in parts.items():
        if most / part < _END_OF_SECONDS:
            return (
                f"a number is seconds since 1970; of {unit} `withColumn: {{name: {flow(name)}, "
                f'expr: "cast({in_sql(name)} / {part} as timestamp)"}}` makes times'
            )
    return "a number is seconds since 1970: drop the column, or compute what is meant"


def of_time(name: str, ends: Sequence[str]) -> str:
    """To a text where a time is needed; ``ends``: the least and the greatest value."""
    texts = [value.strip() for value in ends]
    if texts and all(map(_DAY.fullmatch, texts)):
        return f"`cast: {{columns: {{{flow(name)}: timestamp}}}}`"
    return of_cast(name, "string", "timestamp", ends)


def of_split(name: str, value: object, others_are_known: bool) -> str:
    """To a column that is to say which split a row is in, and has a ``value`` that names none."""
    column = in_sql(name)
    text = (
        str(value).lower()
        if isinstance(value, bool | int | float)
        else "'" + str(value).replace("'", "''") + "'"
    )
    is_so = f"{column} is null" if value is None else f"{column} = {text}"
    other = column if others_are_known else "'train'"
    expression = f"case when {is_so} then 'test' else {other} end"
    return f'`withColumn: {{name: {flow(name)}, expr: "{expression}"}}`'


def _day_step(name: str, texts: Sequence[str]) -> str | None:
    """The step that reads such texts as days or times; None if there is none."""
    forms = formats_of(texts)
    if not forms:
        return None
    reader = "to_timestamp" if date_format(forms[0]).kind == "timestamp" else "to_date"
    expression = f"{reader}({in_sql(name)}, '{forms[0]}')"
    step = f'`withColumn: {{name: {flow(name)}, expr: "{expression}"}}`'
    if len(forms) > 1:
        step += f" or with '{forms[1]}', whichever is meant"
    return step


def _years(step: str) -> str:
    """What to know of such a step, if years have two digits."""
    return "" if "yyyy" in step else "; of yy the years are 2000 to 2099"


@dataclass(frozen=True)
class Texts:
    """A column of texts in a few figures: its rows with a value, its different values, those that
    are numbers, the length of the longest, the least and the greatest."""

    rows: int
    distinct: int
    numbers: int
    longest: int
    ends: tuple[str, ...]
    spaced: int = 0  # values with a blank


def of_text(name: str, found: Texts) -> str:
    """To a feature that is text, for a model that takes numbers."""
    column = flow(name)
    if not found.rows:
        return f"it has no values: `drop: {{columns: [{column}]}}`"
    texts = [value.strip() for value in found.ends]
    if {text.lower() for text in texts} <= set(_CAST_TO_BOOLEAN) and found.distinct <= 4:
        return f"it says yes and no: `cast: {{columns: {{{column}: boolean}}}}`"
    if found.numbers == found.rows and any(map(_ZEROS.fullmatch, texts)):
        return (
            "its digits have leading zeros, as codes have: oneHot for a few codes, hashEncode for "
            f"many, `cast: {{columns: {{{column}: bigint}}}}` for a quantity"
        )
    if found.numbers == found.rows:
        return f"all of it is numbers: `cast: {{columns: {{{column}: double}}}}`"
    step = parse_step(name, found.ends)
    if step is not None:
        return f"it holds numbers in another form: {step}"
    if found.numbers >= found.rows / 2:
        others = " and ".join(quoted(text) for text in texts if not _NUMBER.fullmatch(text))
        return (
            f"{found.numbers} of {found.rows} values are numbers, others are not"
            f"{f', e.g. {others}' if others else ''}: set input.options.nullValues if that stands "
            f"for null, or {_parse_step(name, 'invalid: setNull')}, which makes null of it"
        )
    parts = f"`dateParts: {{columns: [{column}], parts: [year, month, dayOfWeek]}}`"
    if (step := _day_step(name, texts)) is not None:
        return f"it holds days: {step}, then {parts}{_years(step)}"
    if all(map(_DAY.fullmatch, texts)):
        kind = "timestamp" if all(map(_MOMENT.fullmatch, texts)) else "date"
        return f"it holds days: `cast: {{columns: {{{column}: {kind}}}}}`, then {parts}"
    if found.longest > _LONG or (
        found.spaced >= found.rows / 2 and found.distinct > max(_FEW, found.rows / 2)
    ):
        return (
            f"it holds free text: `tfidf: {{columns: [{column}]}}` makes features of its words, "
            f"`hashText: {{columns: [{column}]}}` does so without learning which there are"
        )
    if found.distinct > found.rows * 0.9 and found.distinct > 10:
        return (
            "nearly every row has a value of its own, of which no encoding makes a feature: "
            f"`drop: {{columns: [{column}]}}`"
        )
    if found.distinct <= _FEW:
        return f"it has {found.distinct} categories: `oneHot: {{columns: [{column}]}}`"
    if found.distinct <= _MOST_ONE_HOT:
        return (
            f"it has {found.distinct} categories: `groupRare: {{columns: [{column}], keep: 50}}`, "
            f"then oneHot; or `targetEncode: {{columns: [{column}]}}`"
        )
    return (
        f"it has {found.distinct} categories: `hashEncode: {{columns: [{column}]}}` or "
        f"`targetEncode: {{columns: [{column}]}}`; "
        f"`groupRare: {{columns: [{column}], keep: 50}}`, then oneHot, for the frequent ones"
    )


def of_label(engine: Engine, frame: Frame, label: str) -> str:
    """To a label that is text where a number is needed."""
    (found,) = _figures(engine, frame, [label])
    if found.numbers < found.rows / 2 and parse_step(label, found.ends) is None:
        return "set task.type to classification if its texts are classes"
    return of_text(label, found)


def of_features(engine: Engine, frame: Frame, features: Sequence[str]) -> str:
    """To features that are no numbers: a piece of advice for each of the first ones."""
    texts = [name for name in features if frame.columns[name] == "string"][:_MOST]
    found = _figures(engine, frame, texts) if texts else []
    parts = [f"{name}: {of_text(name, its)}" for name, its in zip(texts, found, strict=True)]
    parts += [
        f"{name} is a {frame.columns[name]}: "
        f"`dateParts: {{columns: [{flow(name)}], parts: [year, month, dayOfWeek]}}`"
        for name in features
        if frame.columns[name] in ("date", "timestamp")
    ][: max(0, _MOST - len(parts))]
    return "; ".join(parts)


def _figures(engine: Engine, frame: Frame, texts: Sequence[str]) -> list[Texts]:
    """Of each of some columns of text."""
    dialect = engine.dialect
    figures: list[str] = []
    for name in texts:
        column = dialect.ident(name)
        figures += [
            f"count({column})",
            f"count(DISTINCT {column})",
            f"count({dialect.cast(column, 'string', 'double')})",
            f"coalesce(max(length({column})), 0)",
            f"count(CASE WHEN contains({column}, ' ') THEN 1 END)",
            *(f"{end}({dialect.substring(column, 1, 64)})" for end in ("min", "max")),
        ]
    (found,) = engine.rows(f"SELECT {', '.join(figures)} FROM {frame.view}")
    made = []
    for at in range(0, len(found), 7):
        rows, distinct, numbers, longest, spaced, *its = found[at : at + 7]
        ends = tuple(dict.fromkeys(end for end in its if end is not None))
        made.append(Texts(rows, distinct, numbers, longest, ends, spaced))
    return made
