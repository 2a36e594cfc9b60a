"""Types and date formats that the user gives: how texts become their values, and which do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from zoneinfo import available_timezones

from trainingjob.api.v1alpha1.input import ColumnType, Input

from ...base.errors import StageFailure
from ..engines.frame import Engine, Frame
from ..expressions.date_formats import BadFormat, DateFormat, date_format
from ..expressions.dialect import Dialect
from ..names import cannot_use, column_not_found, quoted
from .called import field

# As Spark's cast to boolean takes them.
_TRUE = "('t', 'true', 'y', 'yes', '1')"
_FALSE = "('f', 'false', 'n', 'no', '0')"
# Types of which the second does not hold every value of the first, and a cast does not say so.
_LOSING: set[tuple[ColumnType, ColumnType]] = {
    *(("double", "bigint"), ("timestamp", "date")),
    *(("bigint", "boolean"), ("double", "boolean")),
}
_ZONED = ".{16,}( UTC|Z|[+-][0-9]{2}(:?[0-9]{2})?)"


@dataclass(frozen=True)
class Wanted:
    """A column's type, and how its texts are written; ``zone``: of timestamps that say none."""

    kind: ColumnType
    format: DateFormat | None = None
    zone: str | None = None

    def fits(self, dialect: Dialect, text: str) -> str:
        """SQL: whether a text, blanks around it cut, is a value of the type."""
        if self.kind == "boolean":
            return f"lower({text}) IN {_TRUE} OR lower({text}) IN {_FALSE}"
        if self.format is not None:
            return f"({self.format.read(dialect, text, self.kind)}) IS NOT NULL"
        if self.kind == "timestamp":
            return f"{dialect.is_text_of('date', text)} OR {dialect.is_text_of('timestamp', text)}"
        fits = dialect.is_text_of(self.kind, text)
        if self.kind == "double":  # 1e400 is written as one
            fits = f"{fits} AND {dialect.read('double', text)} IS NOT NULL"
        return fits

    def value(self, dialect: Dialect, text: str) -> str:
        """SQL: the value of a text that fits, or null."""
        if self.kind == "boolean":
            return (
                f"CASE WHEN lower({text}) IN {_TRUE} THEN TRUE "
                f"WHEN lower({text}) IN {_FALSE} THEN FALSE END"
            )
        if self.format is not None:
            value = self.format.read(dialect, text, self.kind)
            if self.kind == "timestamp" and self.zone and "zone" not in self.format.fields:
                value = dialect.from_zone(value, self.zone)
            return value
        return self.read(dialect, text)

    def read(self, dialect: Dialect, text: str) -> str:
        """SQL: the value of a text of which the type was found out."""
        value = dialect.read(self.kind, text)
        if self.kind == "timestamp" and self.zone:
            local = dialect.from_zone(value, self.zone)
            says_one = dialect.matches(dialect.trimmed(text), _ZONED)
            value = f"CASE WHEN {says_one} THEN {value} ELSE {local} END"
        return value

    def misfit(self, name: str, value: str, where: str, count: int, advice: str) -> StageFailure:
        """What to say of texts that do not fit."""
        written = f" written as {self.format.text}" if self.format else ""
        kind = "dateFormats" if self.format else "schema"
        return StageFailure(
            "InputMalformed",
            f"{name}: {quoted(value)} ({where}) is no {self.kind}{written}, as "
            f"{field(kind)} says it is; {count} values do not fit{advice}",
        )


def wanted_columns(source: Input) -> dict[str, Wanted]:
    """By column; raises StageFailure(InvalidSpec) for a format or a zone that there is not."""
    zone = source.time_zone
    if zone is not None and zone not in available_timezones():
        near = get_close_matches(zone, available_timezones(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise StageFailure("InvalidSpec", f"{field('timeZone')}: no zone is {zone}{hint}")
    found = {name: Wanted(kind, None, zone) for name, kind in (source.types or {}).items()}
    for name, text in (source.date_formats or {}).items():
        try:
            written = date_format(text)
        except BadFormat as error:
            raise StageFailure("InvalidSpec", f"{field('dateFormats')}: {error}") from error
        kind = found[name].kind if name in found else written.kind
        found[name] = Wanted(kind, written, zone)
    return found


def refuse_unknown(uri: str, wanted: Mapping[str, Wanted], names: list[str]) -> None:
    """Raises StageFailure(ColumnNotFound) for a column that there is not."""
    for name in wanted:
        if name not in names:
            raise column_not_found(f"{uri}: {field('schema')} or dateFormats", name, names)


def conformed(engine: Engine, frame: Frame, wanted: Mapping[str, Wanted], uri: str) -> Frame:
    """A frame whose columns have types of their own already with the types that are wanted.

    Raises StageFailure(ColumnNotFound, InputMalformed)."""
    if not wanted:
        return frame
    for name in wanted:
        if name in frame.unread:
            raise cannot_use(f"{uri}: {field('schema')}", name, frame.unread[name])
    refuse_unknown(uri, wanted, list(frame.columns))
    dialect = engine.dialect
    columns = dict(frame.columns)
    selected, tests = {name: dialect.ident(name) for name in columns}, {}
    for name, one in wanted.items():
        ident, kind = dialect.ident(name), columns[name]
        if kind == one.kind and one.format is None:
            continue
        if kind == "string":
            text = f"nullif({dialect.trimmed(ident)}, '')"
            value = one.value(dialect, text)
            tests[name] = f"{text} IS NOT NULL AND NOT ({one.fits(dialect, text)})"
        else:
            value = dialect.cast(ident, kind, one.kind, strict=True)
            tests[name] = f"{ident} IS NOT NULL AND ({value}) IS NULL"
            if (kind, one.kind) in _LOSING:
                # What a cast would cut off, or take for true, is no value of the type.
                tests[name] += f" OR {dialect.cast(f'({value})', one.kind, kind)} <> {ident}"
        selected[name], columns[name] = value, one.kind
    if tests:
        _refuse_misfits(engine, frame, wanted, tests, uri)
    texts = ", ".join(f"{sql} AS {dialect.ident(name)}" for name, sql in selected.items())
    made = frame.over(engine.view(f"SELECT {texts} FROM {frame.view}"), columns)
    if not frame.whole:
        return made
    others = ", ".join(dialect.ident(name) for name, one in frame.unread.items() if one.in_whole)
    return replace(made, whole=engine.view(f"SELECT {texts}, {others} FROM {frame.whole}"))


def _refuse_misfits(
    engine: Engine,
    frame: Frame,
    wanted: Mapping[str, Wanted],
    tests: Mapping[str, str],
    uri: str,
) -> None:
    dialect = engine.dialect
    counts = []
    for name, test in tests.items():
        text = dialect.cast(dialect.ident(name), frame.columns[name], "string")
        counts += [f"count(CASE WHEN {test} THEN 1 END)", f"min(CASE WHEN {test} THEN {text} END)"]
    (row,) = engine.rows(f"SELECT {', '.join(counts)} FROM {frame.view}")
    for name, count, value in zip(tests, row[::2], row[1::2], strict=True):
        if count:
            lost = (frame.columns[name], wanted[name].kind) in _LOSING
            cut = "; to cut it off all the same, leave the column as it is and `cast` it in a step"
            raise wanted[name].misfit(name, value, uri, count, cut if lost else "")
