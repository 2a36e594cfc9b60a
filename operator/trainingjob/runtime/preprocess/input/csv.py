"""Reading CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ...base.errors import StageFailure
from ...base.text import listed
from ..engines.arrow import beyond
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import Engine, Frame
from ..expressions.dialect import Dialect
from ..expressions.duckdb_dialect import DUCKDB
from ..expressions.many import Same, select
from ..names import check_names, quoted, refuse_keys
from ..notes import Notes
from .absent import tell_absent
from .csv_files import (
    CsvHeads,
    as_written,
    check_csv,
    csv_heads,
    is_odd,
    lines_of,
    written_anew,
)
from .files import Source, malformed
from .partitions import partition_kinds, partition_values
from .schema import Wanted, looks_dated, refuse_unknown
from .scratch import Scratch
from .texts import (
    BIG,
    CODES,
    DATES,
    DIGITS,
    INFINITE,
    LONG,
    NULL_TEXT,
    NUMBERS,
    SUSPICIOUS,
    ZEROS,
    code_of,
    codes_of,
    codes_of_sample,
    is_day,
    is_mixed,
    kind_of_codes,
    null_texts,
    nulls,
    number_pattern,
    plain_number,
    typed_nulls,
    unlike,
)

# Columns of numbers and texts that are looked at closely.
_MOST_MIXED = 20

# Of countries, states and languages.
_CODE = re.compile("[A-Z]{2}")

# Texts among numbers that a warning shows.
_SHOWN = 5

# Whether a row has a value that is unlike the sample's.
_ODD = "trainingjob_odd"

# Up to this size, files for Spark are inspected on the driver.
_SMALL_BYTES = 256 * 2**20


def read_csv(
    engine: Engine,
    source: Source,
    options: CsvOptions,
    notes: Notes,
    wanted: Mapping[str, Wanted],
    zone: str | None,
    scratch: Scratch,
    *,
    hashes: bool = False,
) -> Frame:
    """Columns in the order of the first file. ``wanted``: types that the user gives; ``hashes``:
    rows are hashed next."""
    options = as_written(source, options)
    heads = csv_heads(source, options)
    _check_names(source, options, heads)
    refuse_unknown(source.uri, wanted, heads.names)
    tell_absent(source, heads.of_file, notes)
    first = len(next(iter(heads.of_file.values())))
    hints = codes_of_sample(heads.sample, options, first) + [0] * (len(heads.names) - first)
    # What is known to be text is not looked at.
    hints = [
        CODES["string"] if name in wanted else hint
        for name, hint in zip(heads.names, hints, strict=True)
    ]
    csv = _Csv(source, options, heads, dict(wanted), source, options)
    if is_odd(options, heads):
        csv = csv.written_anew(scratch)
    at_once = _as_sampled(engine, csv, hints, zone) if hashes else None
    if at_once is not None:
        frame, tally = at_once
    else:
        raw, tally, line_breaks = _inspect(engine, csv, hints, scratch)
    if not tally.rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = tally.rows
    csv.refuse_misfits(tally)
    kinds = csv.kinds(tally.codes)
    _tell(csv, kinds, tally, notes)
    return frame if at_once else _typed(engine, csv, raw, kinds, zone, line_breaks)


def _as_sampled(
    engine: Engine, csv: _Csv, hints: list[int], zone: str | None
) -> tuple[Frame, _Tally] | None:
    """The frame, hashed, in one pass over the files; None unless every value of theirs looks like
    some of the sample's, so that these tell the types."""
    if not isinstance(engine, DuckdbEngine):
        return None
    tally = _Tally.of(csv, hints)
    given = any(one.kind != "string" for one in csv.wanted.values())
    if given or tally.suspicious or not all(tally.codes) or any(map(is_mixed, tally.codes)):
        return None
    names = [f"c{index}" for index in range(csv.width)]
    odd = f"{unlike(DUCKDB, names, csv.options, hints)} <> 0 AS {_ODD}"
    try:
        raw = csv.read(engine)
        frame = _typed(engine, csv, raw, csv.kinds(tally.codes), zone, False, odd)
        made = engine.hashed_unless(replace(frame, hidden=(_ODD,)), _ODD)
    except StageFailure:
        return None  # the other way says what it is
    if made is None:
        return None
    ((rows,),) = engine.rows(f"SELECT count(*) FROM {made.view}")
    return made, replace(tally, rows=rows)


def _check_names(source: Source, options: CsvOptions, heads: CsvHeads) -> None:
    refuse_keys(source.uri, heads.names, source.keys)
    try:
        check_names(source.uri, [*heads.names, *source.keys])
    except StageFailure as failure:
        number = re.compile(number_pattern(options))
        values = sum(bool(number.fullmatch(name)) for name in heads.names)
        if not options.header:
            raise
        where = "preprocess.input.options"
        advice = (
            f"the first line has values and no names: set {where}.header to false"
            if values * 2 >= len(heads.names)
            else f"{where}: {{header: false, skipRows: {(options.skip_rows or 0) + 1}}} leaves the "
            "line of names out: columns are c0, c1, … then"
        )
        message = f"{failure.message}; {advice}"
        raise StageFailure(failure.reason, message) from failure


@dataclass(frozen=True)
class _Csv:
    """Files of CSV, and how they are written; the same as the engines read them."""

    source: Source
    options: CsvOptions
    heads: CsvHeads
    wanted: Mapping[str, Wanted]
    plain: Source
    plain_options: CsvOptions

    @property
    def width(self) -> int:
        return len(self.heads.names)

    def read(self, engine: Engine, *, line_breaks: bool = False) -> str:
        """A view of the fields as ``Engine.read_csv`` gives it, in the order of the first file's
        names, and the partition columns."""
        names, of_file = self.heads.names, self.heads.of_file
        plain, options = self.plain, self.plain_options
        if not plain.keys and len(set(of_file.values())) == 1:
            return engine.read_csv(plain, options, self.width, line_breaks=line_breaks)
        if plain is not self.source:
            of_file = dict(zip(plain.files, of_file.values(), strict=True))
        queries = []
        for part in plain.part(list(of_file)).parts(of_file):
            order = of_file[part.files[0]]
            null = f"CAST(NULL AS {engine.dialect.type_name('string')})"
            fields = [
                f"{f'c{order.index(name)}' if name in order else null} AS c{index}"
                for index, name in enumerate(names)
            ]
            view = engine.read_csv(part, options, len(order), line_breaks=line_breaks)
            values = partition_values(engine.dialect, plain, part, self.key)
            queries.append(f"SELECT {', '.join([*fields, 'malformed', *values])} FROM {view}")
        return engine.view(" UNION ALL ".join(queries))

    def kinds(self, codes: list[int]) -> dict[str, ColumnType]:
        """The types that values of these codes have, whatever the user wants."""
        return {n: kind_of_codes(code) for n, code in zip(self.heads.names, codes, strict=True)}

    def key(self, name: str) -> str:
        """What the view calls a partition column, which may well be named c0."""
        return f"trainingjob_key_{self.source.keys.index(name)}"

    def written_anew(self, scratch: Scratch) -> _Csv:
        """The same as plain CSV."""
        plain, options = written_anew(self.source, self.options, self.heads, scratch)
        return replace(self, plain=plain, plain_options=options)

    def refuse_misfits(self, tally: _Tally) -> None:
        """Raises StageFailure(InputMalformed) for a value that is not of the type that is given."""
        for name, (count, value) in tally.misfits.items():
            found = lines_of(self.source, self.options, name, value.__eq__, 1)
            advice = "; set preprocess.input.options.nullValues if it stands for null"
            where = found.get(value, self.source.uri)
            raise self.wanted[name].misfit(name, value, where, count, advice)


def _tell(csv: _Csv, kinds: Mapping[str, ColumnType], tally: _Tally, notes: Notes) -> None:
    """Warn of what a reader may have taken for something else than was meant."""
    source, heads = csv.source, csv.heads
    first = heads.names[0]
    if first in heads.unnamed or re.fullmatch(r"Unnamed: 0(\.\d+)?", first):
        how = f"has no name and is read as {first}" if first in heads.unnamed else f"is {first}"
        notes.warn(
            "IndexColumn",
            f"{source.uri}: the first column {how}: it looks like the index of the frame that was "
            f"written; `drop: {{columns: [{first}]}}`",
        )
    for (name, kind), code in zip(kinds.items(), tally.codes, strict=True):
        where = f"{source.uri}: {name}"
        if kind == "string" and code and not code & ~DIGITS:
            if code & ZEROS:
                notes.warn(
                    "ReadAsText",
                    f"{where} is text: some of its digits have leading zeros, as codes have, and "
                    f"numbers would lose them; `cast: {{columns: {{{name}: bigint}}}}` for numbers",
                )
            else:
                notes.warn("ReadAsText", f"{where} is text: {beyond()}")
        if kind == "double" and code & (LONG | BIG):
            notes.warn(
                "ValuesRounded",
                f"{where} has whole numbers of more than 15 digits among numbers with a fraction: "
                "they are read as doubles, which hold 15 to 17 digits",
            )
        if kind == "double" and code & INFINITE:
            notes.warn("ValuesBecameNull", f"{where}: infinite values are read as null")
    if csv.options.trim is None:
        _tell_of_blanks(csv, kinds, notes)
    for name, code in zip(heads.names, tally.codes, strict=True):
        if name not in csv.wanted and code & CODES["string"]:
            _tell_of_texts(csv, name, code, tally.mixed.get(name), notes)
    for name in tally.nulls:
        place = heads.names.index(name)
        texts = {record[place].strip(" ") for record in heads.sample if len(record) > place} - {""}
        codes = texts - {"NA"}
        if len(codes) < len(texts) and codes and all(_CODE.fullmatch(text) for text in codes):
            notes.warn(
                "ValuesBecameNull",
                f'{source.uri}: {name}: "NA" among codes of two letters is read as null; if it is '
                "one of them, set preprocess.input.options.nullValues to []",
            )
    if tally.nulls:
        notes.log(
            f"{source.uri}: texts such as NA and null are read as null in {listed(tally.nulls)}; "
            "preprocess.input.options.nullValues says which do"
        )


def _tell_of_blanks(csv: _Csv, kinds: Mapping[str, ColumnType], notes: Notes) -> None:
    """Warn of columns of text with blanks around the first values."""
    found: dict[str, str] = {}
    for record in csv.heads.sample:
        for name, text in zip(csv.heads.names, record, strict=False):
            blanks = text != text.strip(" ") != ""
            kind = csv.wanted[name].kind if name in csv.wanted else kinds[name]
            if blanks and kind == "string" and text.strip(" ") not in nulls(csv.options):
                found.setdefault(name, text)
    if found:
        has = "has" if len(found) == 1 else "have"
        notes.warn(
            "BlanksKept",
            f"{csv.source.uri}: {listed(list(found))} {has} blanks around texts, as "
            f"{quoted(next(iter(found.values())))}, which are part of the values; to cut them, set "
            "preprocess.input.options.trim to true",
        )


def _tell_of_texts(csv: _Csv, name: str, code: int, mixed: _Mixed | None, notes: Notes) -> None:
    """Warn of a column that is text because of a few values, or only by how it is written."""
    source, options = csv.source, csv.options
    where = f"{source.uri}: {name} is text"
    if mixed and max(mixed.numbers, mixed.dates) > mixed.others:
        dates = mixed.dates > mixed.numbers
        what, kind = ("dates", "date") if dates else ("numbers", "double")
        kind = "timestamp" if dates and code & CODES["timestamp"] else kind
        number, none = re.compile(number_pattern(options)), nulls(options)
        fits: Callable[[str], Any] = is_day if dates else number.fullmatch
        found = lines_of(
            source, options, name, lambda text: not fits(text) and text not in none, _SHOWN
        )
        texts = list(found) or list(dict.fromkeys((mixed.least, mixed.greatest)))
        shown = ", ".join(f"{quoted(t)} ({found[t]})" if t in found else quoted(t) for t in texts)
        listing = ", ".join(map(quoted, texts))
        notes.warn(
            "ReadAsText",
            f"{where}: {max(mixed.numbers, mixed.dates)} of its values are {what}, "
            f"{mixed.others} are not: {shown}; if that stands for null, set "
            f"preprocess.input.options.nullValues to [{listing}]; else "
            f"`cast: {{columns: {{{name}: {kind}}}}}` makes null of it",
        )
        return
    place = csv.heads.names.index(name)
    some = [record[place].strip(" ") for record in csv.heads.sample if len(record) > place]
    some = [text for text in some if text and text not in nulls(options)]
    marks = {*"".join(some)}
    advice = next(
        (words for of, form, words in _STYLES if marks & {*of} and _all_match(form, some)), None
    )
    dated = next((form for form in map(looks_dated, some) if form), None)
    if dated and _all_match(r"[0-9]{2}([/.-])[0-9]{2}\1[0-9]{4}", some):
        advice = f"preprocess.input.dateFormats to {{{name}: {dated}}} for dates"
    if advice:
        notes.warn("ReadAsText", f"{where}: {quoted(some[0])}; set {advice}")


def _all_match(pattern: str, texts: list[str]) -> bool:
    return all(re.fullmatch(pattern, text) for text in texts)


# How numbers are written, too, with one of these marks -> what to set.
_STYLES = [
    (
        ",",
        r"[+-]?([0-9]{1,3}([.][0-9]{3})+|[0-9]+),[0-9]+|[+-]?[0-9]+|[+-]?[0-9]{1,3}([.][0-9]{3})+",
        "preprocess.input.options.decimal to a comma for numbers, and thousands to a point if "
        "that groups their digits",
    ),
    (
        ",",
        r"[+-]?[0-9]{1,3}(,[0-9]{3})*([.][0-9]+)?",
        "preprocess.input.options.thousands to a comma for numbers",
    ),
    (
        "'",
        r"[+-]?[0-9]{1,3}('[0-9]{3})*([.][0-9]+)?",
        'preprocess.input.options.thousands to "\'" for numbers',
    ),
    (
        " \u00a0\u202f",
        "[+-]?[0-9]{1,3}([ \u00a0\u202f][0-9]{3})*([.,][0-9]+)?",
        'preprocess.input.options.thousands to " " for numbers, and decimal to a comma if that '
        "stands before their fraction",
    ),
]


def _inspect(
    engine: Engine, csv: _Csv, hints: list[int], scratch: Scratch
) -> tuple[str, _Tally, bool]:
    """A view of the fields, what their values look like, and whether a field may have a line
    break; raises StageFailure(Input…)."""
    source, options = csv.source, csv.options
    try:
        if engine.runs_spark_sql and source.size <= _SMALL_BYTES:
            # A pass by DuckDB on the driver takes less time than starting one in Spark.
            with DuckdbEngine() as duckdb_engine:
                tally = _count(duckdb_engine, csv.read(duckdb_engine), csv, hints)
            return csv.read(engine, line_breaks=tally.suspicious), tally, tally.suspicious
        raw = csv.read(engine)
        tally = _count(engine, raw, csv, hints)
        if not engine.runs_spark_sql:
            return raw, tally, tally.suspicious
        quote = csv.plain_options.quote
        suspicious = tally.suspicious or engine.has_open_quotes(csv.plain, quote)
    except StageFailure as failure:
        check_csv(options, csv.heads)
        if failure.reason == "StepFailed" and csv.plain is source:
            # Such as a file whose lines end in several ways.
            return _inspect(engine, csv.written_anew(scratch), hints, scratch)
        raise malformed(source, failure) from failure
    line_breaks = suspicious and check_csv(options, csv.heads)
    if line_breaks:
        raw = csv.read(engine, line_breaks=True)
        tally = _count(engine, raw, csv, hints)
    return raw, tally, line_breaks


@dataclass(frozen=True)
class _Mixed:
    """Of a column of numbers or dates, and other texts: how many of each, and the least and the
    greatest of the others."""

    numbers: int
    dates: int
    others: int
    least: str
    greatest: str


@dataclass(frozen=True)
class _Tally:
    """What the values of each column look like, the number of rows, whether any row is
    suspicious: it has, or may have, a line break in a field."""

    codes: list[int]
    rows: int
    suspicious: bool
    mixed: dict[str, _Mixed]
    # Columns of a type that is given: how many values do not fit, and the least of them.
    misfits: dict[str, tuple[int, str]]
    # Columns of text that have texts for null.
    nulls: list[str]

    @classmethod
    def of(cls, csv: _Csv, codes: list[int]) -> _Tally:
        """What the codes tell; rows and values are not counted."""
        nulls = [
            name
            for name, code in zip(csv.heads.names, codes, strict=True)
            if code & NULL_TEXT and code & CODES["string"] and name not in csv.wanted
        ]
        suspicious = any(code & SUSPICIOUS for code in codes)
        return cls([c & ~(SUSPICIOUS | NULL_TEXT) for c in codes], 0, suspicious, {}, {}, nulls)


def _count(engine: Engine, raw: str, csv: _Csv, hints: list[int]) -> _Tally:
    dialect, options = engine.dialect, csv.options
    names = [f"c{index}" for index in range(len(hints))]
    found, rows, malformed = codes_of(dialect, names, options, hints, raw, engine.rows)
    trimmed = ", ".join(
        f"{plain_number(dialect, f'trim({name})', options)} AS {name}" for name in names
    )
    source = f"(SELECT {trimmed} FROM {raw}) AS t"
    tally = _Tally.of(csv, [(code or 0) | hint for code, hint in zip(found, hints, strict=True)])
    mixed = [
        (f"c{index}", name)
        for index, (name, code) in enumerate(zip(csv.heads.names, tally.codes, strict=True))
        if is_mixed(code)
    ][:_MOST_MIXED]
    counts: list[str] = []
    for column, _ in mixed:
        code = f"({code_of(dialect, column, options, 0)})"
        start = dialect.substring(column, 1, 64)
        text = f"CASE WHEN {code} & {CODES['string']} <> 0 THEN {start} END"
        counts += [
            *(f"count(CASE WHEN {code} & {of} <> 0 THEN 1 END)" for of in (NUMBERS, DATES)),
            *(f"{function}({text})" for function in ("count", "min", "max")),
        ]
    given = [(f"c{csv.heads.names.index(name)}", one) for name, one in csv.wanted.items()]
    given = [(column, one) for column, one in given if one.kind != "string"]
    for column, one in given:
        given_nulls = null_texts(dialect, options)
        test = f"{column} NOT IN ({given_nulls}) AND NOT ({one.fits(dialect, column)})"
        start = dialect.substring(column, 1, 64)
        counts += [f"count(CASE WHEN {test} THEN 1 END)", f"min(CASE WHEN {test} THEN {start} END)"]
    values = engine.rows(f"SELECT {', '.join(counts)} FROM {source}")[0] if counts else ()
    misfits = values[5 * len(mixed) :]
    return replace(
        tally,
        rows=rows,
        suspicious=tally.suspicious or bool(malformed),
        mixed={name: _Mixed(*values[5 * i : 5 * i + 5]) for i, (_, name) in enumerate(mixed)},
        misfits={
            csv.heads.names[int(column[1:])]: (count, value)
            for (column, _), count, value in zip(given, misfits[::2], misfits[1::2], strict=True)
            if count
        },
    )


def _typed(
    engine: Engine,
    csv: _Csv,
    raw: str,
    kinds: Mapping[str, ColumnType],
    zone: str | None,
    line_breaks: bool,
    *more: str,
) -> Frame:
    """The fields of a view as values of these types, or of those that are wanted."""
    dialect, source = engine.dialect, csv.source
    columns: dict[str, str | Same] = {}
    made: dict[str, ColumnType] = {}
    for index, (name, kind) in enumerate(kinds.items()):
        one = csv.wanted.get(name) or Wanted(kind, None, zone)
        made[name] = one.kind
        write = partial(_value, dialect, one, name in csv.wanted, csv.options, line_breaks)
        columns[name] = Same(f"c{index}", write)
    keys = [f"{csv.key(key)} AS {dialect.ident(key)}" for key in source.keys]
    view = engine.view(select(dialect, columns, [*keys, *more], raw))
    return Frame(view, made | partition_kinds(source))


def _value(
    dialect: Dialect,
    one: Wanted,
    given: bool,
    options: CsvOptions,
    line_breaks: bool,
    column: str,
) -> str:
    text = column
    if one.kind in ("bigint", "double"):
        text = plain_number(dialect, f"trim({column})", options)
        text = column if text == f"trim({column})" else text
    elif given and one.kind != "string":
        text = f"trim({column})"
    value = one.value(dialect, text) if given else one.read(dialect, text)
    if one.kind == "string" and options.trim:
        value = f"trim({value})"
    if one.kind == "string" and line_breaks:
        # Spark makes one character of both where lines end with both.
        value = f"replace({value}, chr(13) || chr(10), chr(10))"
    if one.kind == "string" or given or typed_nulls(options):
        return f"CASE WHEN trim({column}) NOT IN ({null_texts(dialect, options)}) THEN {value} END"
    return value
