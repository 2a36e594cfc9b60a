"""parseNumber: numbers as people and other programs write them."""

from __future__ import annotations

from functools import partial

from trainingjob.api.v1alpha1.features import ParseNumber
from trainingjob.api.v1alpha1.input import ColumnType

from ..account import Tally
from ..advice import of_number
from ..engines.frame import NUMERIC, Frame
from ..expressions.dialect import Dialect
from ..written import MINUS, Written
from .step import Fitted, Where


def parse_number(spec: ParseNumber, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Each text as a double. Applied: as the fields say, which learn nothing."""
    where.require(frame, spec.columns)
    written = Written(spec.decimal or ".", tuple(spec.units or ()))
    changed: dict[str, tuple[str, ColumnType]] = {}
    tallies = []
    for name in dict.fromkeys(spec.columns):
        kind, column = frame.columns[name], where.dialect.ident(name)
        if kind in NUMERIC:
            changed[name] = (where.dialect.cast(column, kind, "double"), "double")
            continue
        if kind != "string":
            raise where.failure(f"column {name} is a {kind}: parseNumber reads texts")
        value = value_of(where.dialect, column, written)
        changed[name] = (value, "double")
        tallies.append(
            Tally(
                name,
                f"{column} IS NOT NULL",
                f"({value}) IS NULL",
                column,
                "string",
                became="are no numbers",
                when_all="fail",
                when_some="warn" if spec.invalid == "setNull" else "fail",
                advice=partial(of_number, name, written),
            )
        )
    where.watch(frame, tallies)
    return where.replace(frame, changed), {}


def value_of(dialect: Dialect, text: str, written: Written) -> str:
    """SQL of a text's number; null for what is none."""
    digits = f"regexp_extract({text}, {dialect.text(written.number)}, 0)"
    mark = dialect.regexp_global
    plain = f"regexp_replace({digits}, {dialect.text(written.group)}, ''{mark})"
    if written.decimal != ".":
        plain = f"replace({plain}, {dialect.text(written.decimal)}, '.')"
    number = f"try_cast({plain} AS DOUBLE)"
    one, hundred = dialect.double(1.0), dialect.double(100.0)
    # Before the first digit: an exponent has a sign, too.
    negative = dialect.matches(text, f"[^0-9]*[({MINUS}].*")
    sign = f"CASE WHEN {negative} THEN {dialect.double(-1.0)} ELSE {one} END"
    of = f"CASE WHEN contains({text}, '%') THEN {hundred} ELSE {one} END"
    value = dialect.finite(f"({sign} * {number} / {of})")
    return f"CASE WHEN {dialect.matches(text, written.whole)} THEN {value} END"
