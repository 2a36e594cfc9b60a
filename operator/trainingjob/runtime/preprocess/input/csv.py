"""Reading CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ...base.errors import StageFailure
from ..engines.arrow import beyond
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import Engine, Frame
from ..expressions.dialect import Dialect
from ..names import quoted, refuse_duplicates
from ..notes import Notes
from .csv_files import CsvHeads, check_csv, csv_heads, line_of
from .files import Source, malformed
from .partitions import partition_kinds, partition_values
from .texts import (
    BIG,
    CODES,
    DIGITS,
    INFINITE,
    LONG,
    NUMBERS,
    SUSPICIOUS,
    ZEROS,
    code_of,
    codes_of_sample,
    kind_of_codes,
    null_texts,
)

# Columns of numbers and texts that are looked at closely.
_MOST_MIXED = 20

# Up to this size, files for Spark are inspected on the driver.
_SMALL_BYTES = 256 * 2**20


def read_csv(engine: Engine, source: Source, options: CsvOptions, notes: Notes) -> Frame:
    heads = csv_heads(source, options)
    refuse_duplicates(source.uri, [*heads.names, *source.keys])
    hints = codes_of_sample(heads.sample, options, len(heads.names))
    csv = _Csv(source, options, heads)
    raw, tally, line_breaks = _inspect(engine, csv, hints)
    if not tally.rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = tally.rows
    kinds = {name: kind_of_codes(code) for name, code in zip(heads.names, tally.codes, strict=True)}
    _tell(csv, kinds, tally, notes)
    dialect = engine.dialect
    columns = [
        f"{_typed(dialect, f'c{index}', kind, options, line_breaks)} AS {dialect.ident(name)}"
        for index, (name, kind) in enumerate(kinds.items())
    ]
    columns += [dialect.ident(key) for key in source.keys]
    view = engine.view(f"SELECT {', '.join(columns)} FROM {raw}")
    return Frame(view, kinds | partition_kinds(source))


@dataclass(frozen=True)
class _Csv:
    """Files of CSV, and how they are written."""

    source: Source
    options: CsvOptions
    heads: CsvHeads

    @property
    def width(self) -> int:
        return len(self.heads.names)

    def read(self, engine: Engine, *, line_breaks: bool = False) -> str:
        """A view of the fields as ``Engine.read_csv`` gives it, in the order of the first file's
        names, and the partition columns."""
        names, of_file = self.heads.names, self.heads.of_file
        if not self.source.keys and len(set(of_file.values())) == 1:
            return engine.read_csv(self.source, self.options, self.width, line_breaks=line_breaks)
        queries = []
        for part in self.source.part(list(of_file)).parts(of_file):
            order = of_file[part.files[0]]
            fields = [f"c{order.index(name)} AS c{index}" for index, name in enumerate(names)]
            view = engine.read_csv(part, self.options, self.width, line_breaks=line_breaks)
            values = partition_values(engine.dialect, self.source, part)
            queries.append(f"SELECT {', '.join([*fields, 'malformed', *values])} FROM {view}")
        return engine.view(" UNION ALL ".join(queries))


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
    for name, (numbers, others, least, greatest) in tally.mixed.items():
        if numbers <= others:
            continue
        line = line_of(source, csv.options, name, least)
        shown = " and ".join(quoted(value) for value in dict.fromkeys((least, greatest)))
        notes.warn(
            "ReadAsText",
            f"{source.uri}: {name} is text: {numbers} of its values are numbers, {others} are not: "
            f"{shown}{f' ({line})' if line else ''}; set preprocess.input.options.nullValue if "
            f"that stands for null, or `cast: {{columns: {{{name}: double}}}}`",
        )


def _inspect(engine: Engine, csv: _Csv, hints: list[int]) -> tuple[str, _Tally, bool]:
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
        suspicious = tally.suspicious or engine.has_open_quotes(source, options.quote)
    except StageFailure as failure:
        check_csv(source, options, csv.width)
        raise malformed(source, failure) from failure
    line_breaks = suspicious and check_csv(source, options, csv.width)
    if line_breaks:
        raw = csv.read(engine, line_breaks=True)
        tally = _count(engine, raw, csv, hints)
    return raw, tally, line_breaks


@dataclass(frozen=True)
class _Tally:
    """What the values of each column look like, the number of rows, whether any row is
    suspicious: it has, or may have, a line break in a field; and of columns that have numbers and
    other texts how many of either, and the least and the greatest of the others."""

    codes: list[int]
    rows: int
    suspicious: bool
    mixed: dict[str, tuple[int, int, str, str]]


def _count(engine: Engine, raw: str, csv: _Csv, hints: list[int]) -> _Tally:
    dialect, options = engine.dialect, csv.options
    names = [f"c{index}" for index in range(len(hints))]
    trimmed = ", ".join(f"trim({name}) AS {name}" for name in names)
    source = f"(SELECT {trimmed}, malformed FROM {raw}) AS t"
    codes = ", ".join(
        f"bit_or({code_of(dialect, name, options, hint)})"
        for name, hint in zip(names, hints, strict=True)
    )
    (row,) = engine.rows(f"SELECT {codes}, count(*), max(malformed) FROM {source}")
    *found, rows, malformed = row
    all_codes = [(code or 0) | hint for code, hint in zip(found, hints, strict=True)]
    suspicious = bool(malformed) or any(code & SUSPICIOUS for code in all_codes)
    all_codes = [code & ~SUSPICIOUS for code in all_codes]
    mixed = [
        (f"c{index}", name)
        for index, (name, code) in enumerate(zip(csv.heads.names, all_codes, strict=True))
        if code & NUMBERS and code & CODES["string"]
    ][:_MOST_MIXED]
    counts: list[str] = []
    for column, _ in mixed:
        code = f"({code_of(dialect, column, options, 0)})"
        start = dialect.substring(column, 1, 64)
        text = f"CASE WHEN {code} & {CODES['string']} <> 0 THEN {start} END"
        counts += [
            f"count(CASE WHEN {code} & {NUMBERS} <> 0 THEN 1 END)",
            *(f"{function}({text})" for function in ("count", "min", "max")),
        ]
    values = engine.rows(f"SELECT {', '.join(counts)} FROM {source}")[0] if counts else ()
    return _Tally(
        all_codes,
        rows,
        suspicious,
        {name: tuple(values[4 * i : 4 * i + 4]) for i, (_, name) in enumerate(mixed)},  # type: ignore[misc]
    )


def _typed(
    dialect: Dialect, column: str, kind: ColumnType, options: CsvOptions, line_breaks: bool
) -> str:
    value = dialect.read(kind, column)
    if kind == "string" and line_breaks:
        # Spark makes one character of both where lines end with both.
        value = f"replace({value}, chr(13) || chr(10), chr(10))"
    if kind == "string" or options.null_value:
        nulls = null_texts(dialect, options)
        return f"CASE WHEN trim({column}) NOT IN ({nulls}) THEN {value} END"
    return value
