"""Reading: one rule for types, whatever the engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions, Input

from ...errors import StageFailure
from ..engines.arrow import beyond, convert, kind_of, kinds_of
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import Engine, Frame
from ..expressions.dialect import DUCKDB, Dialect
from ..names import listed, quoted, refuse_duplicates
from ..notes import Notes
from . import source as sources
from .source import Source

# What the values of a text column look like, as bits that a single aggregation collects.
_CODES: dict[ColumnType, int] = {
    "boolean": 1,
    "bigint": 2,
    "double": 4,
    "date": 8,
    "timestamp": 16,
    "string": 32,
}
_NOT_FINITE = 64
_SUSPICIOUS = 128
# Whole numbers: with leading zeros, beyond 64 bits, of more digits than a double surely holds.
_ZEROS = 256
_BIG = 512
_LONG = 1024
_INFINITE = 2048
_DIGITS = _CODES["bigint"] | _ZEROS | _BIG | _LONG
_NUMBERS = _DIGITS | _CODES["double"]
_ZEROS_ONLY = (_ZEROS, _ZEROS | _CODES["bigint"])
# Columns of numbers and texts that are looked at closely.
_MOST_MIXED = 20
# Up to this size, files for Spark are inspected on the driver.
_SMALL_BYTES = 256 * 2**20
_INFINITE_TEXTS = "('inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity')"


def read_input(
    engine: Engine, source: Input, found: Source | None = None, notes: Notes | None = None
) -> Frame:
    """The input as a frame, of the files that were ``found`` already, if they were; raises
    StageFailure(Input…, DuplicateColumns)."""
    notes = notes or Notes()
    found = found or sources.find(source)
    if source.format == "csv":
        return _read_csv(engine, found, source.options or CsvOptions(), notes)
    if source.format == "json":
        return _read_json(engine, found, notes)
    return _read_parquet(engine, found, notes)


def _read_csv(engine: Engine, source: Source, options: CsvOptions, notes: Notes) -> Frame:
    heads = sources.csv_heads(source, options)
    refuse_duplicates(source.uri, [*heads.names, *source.keys])
    hints = _codes_of_sample(heads.sample, options, len(heads.names))
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
    return Frame(view, kinds | _partition_kinds(source))


@dataclass(frozen=True)
class _Csv:
    """Files of CSV, and how they are written."""

    source: Source
    options: CsvOptions
    heads: sources.CsvHeads

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
            values = _partition_values(engine.dialect, self.source, part)
            queries.append(f"SELECT {', '.join([*fields, 'malformed', *values])} FROM {view}")
        return engine.view(" UNION ALL ".join(queries))


def _partition_kinds(source: Source) -> dict[str, ColumnType]:
    """The types of the partition columns, as those of CSV but that 01 is a number there."""
    kinds: dict[str, ColumnType] = {}
    for key in source.keys:
        values = sorted({v for p in source.partitions.values() if (v := p[key]) is not None})
        (codes,) = _codes_of_sample([[value] for value in values], CsvOptions(), 1)
        kinds[key] = kind_of_codes(_CODES["bigint"] if codes in _ZEROS_ONLY else codes)
    return kinds


def _partition_values(dialect: Dialect, whole: Source, part: Source) -> list[str]:
    """The partition columns of files that have the same values in them, as SQL."""
    texts = part.partitions.get(part.files[0], {})
    found = []
    for key, kind in _partition_kinds(whole).items():
        text = texts[key]
        if text is None:
            value = dialect.literal(None, kind)
        else:
            value = dialect.read(kind, dialect.text(text))
        found.append(f"{value} AS {dialect.ident(key)}")
    return found


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
        if kind == "string" and code and not code & ~_DIGITS:
            if code & _ZEROS:
                notes.warn(
                    "ReadAsText",
                    f"{where} is text: some of its digits have leading zeros, as codes have, and "
                    f"numbers would lose them; `cast: {{columns: {{{name}: bigint}}}}` for numbers",
                )
            else:
                notes.warn("ReadAsText", f"{where} is text: {beyond()}")
        if kind == "double" and code & (_LONG | _BIG):
            notes.warn(
                "ValuesRounded",
                f"{where} has whole numbers of more than 15 digits among numbers with a fraction: "
                "they are read as doubles, which hold 15 to 17 digits",
            )
        if kind == "double" and code & _INFINITE:
            notes.warn("ValuesBecameNull", f"{where}: infinite values are read as null")
    for name, (numbers, others, least, greatest) in tally.mixed.items():
        if numbers <= others:
            continue
        line = sources.line_of(source, csv.options, name, least)
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
        sources.check_csv(source, options, csv.width)
        raise _malformed(source, failure) from failure
    line_breaks = suspicious and sources.check_csv(source, options, csv.width)
    if line_breaks:
        raw = csv.read(engine, line_breaks=True)
        tally = _count(engine, raw, csv, hints)
    return raw, tally, line_breaks


def _malformed(source: Source, failure: StageFailure) -> StageFailure:
    """What an engine says of a file that it cannot read, and that we find nothing wrong with."""
    if failure.reason != "StepFailed":
        return failure
    return StageFailure("InputMalformed", f"{source.uri}: {failure.message}")


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
        f"bit_or({_code(dialect, name, options, hint)})"
        for name, hint in zip(names, hints, strict=True)
    )
    (row,) = engine.rows(f"SELECT {codes}, count(*), max(malformed) FROM {source}")
    *found, rows, malformed = row
    all_codes = [(code or 0) | hint for code, hint in zip(found, hints, strict=True)]
    suspicious = bool(malformed) or any(code & _SUSPICIOUS for code in all_codes)
    all_codes = [code & ~_SUSPICIOUS for code in all_codes]
    mixed = [
        (f"c{index}", name)
        for index, (name, code) in enumerate(zip(csv.heads.names, all_codes, strict=True))
        if code & _NUMBERS and code & _CODES["string"]
    ][:_MOST_MIXED]
    counts: list[str] = []
    for column, _ in mixed:
        code = f"({_code(dialect, column, options, 0)})"
        start = dialect.substring(column, 1, 64)
        text = f"CASE WHEN {code} & {_CODES['string']} <> 0 THEN {start} END"
        counts += [
            f"count(CASE WHEN {code} & {_NUMBERS} <> 0 THEN 1 END)",
            *(f"{function}({text})" for function in ("count", "min", "max")),
        ]
    values = engine.rows(f"SELECT {', '.join(counts)} FROM {source}")[0] if counts else ()
    return _Tally(
        all_codes,
        rows,
        suspicious,
        {name: tuple(values[4 * i : 4 * i + 4]) for i, (_, name) in enumerate(mixed)},  # type: ignore[misc]
    )


def _code(dialect: Dialect, value: str, options: CsvOptions, hint: int) -> str:
    """The code of a text. ``hint``: codes that the column is known to have, which spare tests:
    the type of a column with a fraction does not depend on which other numbers are whole."""
    text = (
        f"CASE WHEN {dialect.suspicious(value, options.quote)} "
        f"THEN {_CODES['string'] | _SUSPICIOUS} ELSE {_CODES['string']} END"
    )
    if hint & _CODES["string"]:
        return text
    kinds: list[ColumnType] = ["bigint", "double", "date", "timestamp", "boolean"]
    if hint & _CODES["double"]:
        kinds.remove("bigint")
    elif hint & (_CODES["date"] | _CODES["timestamp"]):
        kinds = ["date", "timestamp"]
    tests = " ".join(
        _whole(dialect, value)
        if kind == "bigint"
        else f"WHEN {dialect.is_text_of(kind, value)} THEN {_CODES[kind]}"
        for kind in kinds
    )
    if "bigint" not in kinds and "double" in kinds:
        code = _CODES["double"] | _LONG
        tests = f"WHEN length({value}) > 15 AND {dialect.is_digits(value)} THEN {code} {tests}"
    return (
        f"CASE WHEN {value} IS NULL OR {value} IN ({_null_texts(dialect, options)}) THEN 0 {tests} "
        f"WHEN lower({value}) = 'nan' THEN {_NOT_FINITE} "
        f"WHEN lower({value}) IN {_INFINITE_TEXTS} THEN {_INFINITE} ELSE {text} END"
    )


def _whole(dialect: Dialect, value: str) -> str:
    """Branches for texts that are whole numbers."""
    bigint = _CODES["bigint"]
    code = f"CASE WHEN length({value}) > 15 THEN {bigint | _LONG} ELSE {bigint} END"
    return (
        f"WHEN {dialect.is_plain_bigint(value)} THEN {code} "
        f"WHEN {dialect.is_digits(value)} THEN CASE WHEN {dialect.has_leading_zero(value)} "
        f"THEN {_ZEROS} WHEN try_cast({value} AS BIGINT) IS NOT NULL THEN {code} ELSE {_BIG} END"
    )


def _codes_of_sample(sample: list[list[str]], options: CsvOptions, width: int) -> list[int]:
    if not sample:
        return [0] * width
    names = [f"c{index}" for index in range(width)]
    codes = ", ".join(f"bit_or({_code(DUCKDB, name, options, 0)})" for name in names)
    columns = [[record[index].strip(" ") for record in sample] for index in range(width)]
    unnested = ", ".join(f"unnest(?) AS {name}" for name in names)
    with duckdb.connect() as db:
        (row,) = db.execute(f"SELECT {codes} FROM (SELECT {unnested})", columns).fetchall()
    return list(row)


def kind_of_codes(codes: int) -> ColumnType:
    """The narrowest type that holds every value seen, and all of it; text when there is none."""
    if codes in (_CODES["boolean"], _CODES["date"]):
        return "boolean" if codes == 1 else "date"
    if codes and not codes & ~_DIGITS:
        return "string" if codes & (_ZEROS | _BIG) else "bigint"
    if codes and not codes & ~(_NUMBERS | _NOT_FINITE | _INFINITE):
        return "double"
    if codes and not codes & ~(_CODES["date"] | _CODES["timestamp"]):
        return "timestamp"
    return "string"


def _typed(
    dialect: Dialect, column: str, kind: ColumnType, options: CsvOptions, line_breaks: bool
) -> str:
    value = dialect.read(kind, column)
    if kind == "string" and line_breaks:
        # Spark makes one character of both where lines end with both.
        value = f"replace({value}, chr(13) || chr(10), chr(10))"
    if kind == "string" or options.null_value:
        nulls = _null_texts(dialect, options)
        return f"CASE WHEN trim({column}) NOT IN ({nulls}) THEN {value} END"
    return value


def _null_texts(dialect: Dialect, options: CsvOptions) -> str:
    # Blanks around a field do not count, so they cannot here.
    return ", ".join(sorted({"''", dialect.text(options.null_value.strip(" "))}))


def _read_parquet(engine: Engine, source: Source, notes: Notes) -> Frame:
    heads = sources.parquet_heads(source)
    files = list(heads)
    names = heads[files[0]].schema.names
    refuse_duplicates(source.uri, [*names, *source.keys])
    notes.rows = sum(head.rows for head in heads.values())
    left_out = dict.fromkeys(name for head in heads.values() for name in head.index)
    if left_out:
        notes.warn(
            "ColumnLeftOut",
            f"{source.uri}: {listed(list(left_out))}: the index of the pandas frame that was "
            "written is no column; to have it as one, reset_index() before to_parquet()",
        )
    schemas = {file: head.schema for file, head in heads.items()}
    groups = {file: tuple(sorted((f.name, str(f.type)) for f in s)) for file, s in schemas.items()}
    parts = source.parts(groups)
    views = [engine.read_parquet(part) for part in parts]
    kinds: dict[str, ColumnType] = {}
    origin: dict[str, Path] = {}
    for part, view in zip(parts, views, strict=True):
        schema = schemas[part.files[0]]
        # A column without values has no type of its own.
        typed = pa.schema([field for field in schema if not pa.types.is_null(field.type)])
        found = kinds_of(engine, view, typed, source.uri, "InputUnreadable", notes)
        for name, kind in found.items():
            before = kinds.setdefault(name, kind)
            origin.setdefault(name, part.files[0])
            if kind == before:
                continue
            if {kind, before} == {"bigint", "double"}:
                kinds[name] = "double"
                message = (
                    f"{source.uri}: {name} is a {before} in {origin[name]} and a {kind} in "
                    f"{part.files[0]}: read as doubles, which hold whole numbers up to 2**53"
                )
                notes.warn("ValuesRounded", message)
                continue
            if {kind, before} == {"bigint", "string"} and _both_whole(
                name, schema, schemas[origin[name]]
            ):
                kinds[name] = "string"
                continue
            raise StageFailure(
                "ColumnsDiffer",
                f"column {name} is a {before} in {origin[name]} and a {kind} in {part.files[0]}",
            )
    kinds = {name: kinds.get(name, "string") for name in names}
    columns = kinds | _partition_kinds(source)
    if len(parts) == 1 and not source.keys:
        schema = schemas[files[0]]
        return convert(engine, views[0], schema, source.uri, "InputUnreadable", kinds)
    queries = []
    for part, view in zip(parts, views, strict=True):
        schema = schemas[part.files[0]]
        frame = convert(engine, view, schema, source.uri, "InputUnreadable", kinds)
        selected = [engine.dialect.ident(name) for name in names]
        selected += _partition_values(engine.dialect, source, part)
        queries.append(f"SELECT {', '.join(selected)} FROM {frame.view}")
    return Frame(engine.view(" UNION ALL ".join(queries)), columns)


def _both_whole(name: str, one: pa.Schema, other: pa.Schema) -> bool:
    """Whether a column has whole numbers in both, of which some are beyond 64 bits."""
    return all(kind_of(schema.field(name).type) == "bigint" for schema in (one, other))


# The JSON types of a key's values, nulls aside, and the type of its column.
_JSON_TYPES: dict[frozenset[str], ColumnType] = {
    frozenset(): "string",
    frozenset({"boolean"}): "boolean",
    frozenset({"integer"}): "bigint",
    frozenset({"huge"}): "string",
    frozenset({"number"}): "double",
    frozenset({"integer", "number"}): "double",
    frozenset({"string"}): "string",
}


def _read_json(engine: Engine, source: Source, notes: Notes) -> Frame:
    """Columns in the order of the first object's keys, then others by name. Text stays text."""
    sources.refuse_byte_order_marks(source)
    try:
        found = engine.json_types(source)
    except StageFailure as failure:
        sources.check_json(source)
        raise _malformed(source, failure) from failure
    if any(kind == "malformed" for _, kind, _ in found):
        sources.check_json(source)
        raise StageFailure("InputMalformed", f"{source.uri}: not one JSON object a line")
    if not any(kind == "object" for _, kind, _ in found):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = sum(count for name, kind, count in found if name is None and kind == "object")
    types: dict[str, set[str]] = {name: set() for name in sources.first_json_keys(source)}
    for name, kind, _ in sorted(row for row in found if row[0] is not None):
        types.setdefault(name, set()).update({kind} - {"null"})  # type: ignore[arg-type]
    if not types:
        raise StageFailure("InputEmpty", f"{source.uri}: the objects have no keys")
    refuse_duplicates(source.uri, [*types, *source.keys])
    columns: dict[str, ColumnType] = {}
    for name, kinds in types.items():
        if "number" in kinds and kinds & {"long", "huge"}:
            notes.warn(
                "ValuesRounded",
                f"{source.uri}: {name} has whole numbers beyond 2**53 among numbers with a "
                "fraction: they are read as doubles, which hold 15 to 17 digits",
            )
            kinds -= {"long", "huge"}
        elif "huge" in kinds and kinds <= {"integer", "long", "huge"}:
            notes.warn("ReadAsText", f"{source.uri}: {name} is text: {beyond()}")
            kinds = {"huge"}
        kinds = {"integer" if kind in ("long",) else kind for kind in kinds}
        if frozenset(kinds) not in _JSON_TYPES:
            what = (
                "nested values" if "nested" in kinds else f"values of types {listed(sorted(kinds))}"
            )
            raise StageFailure(
                "InputMalformed",
                f"{source.uri}: {name} has {what}; a column has values of one type",
            )
        columns[name] = _JSON_TYPES[frozenset(kinds)]
    dialect = engine.dialect
    selected = [
        f"{dialect.finite(dialect.ident(name)) if kind == 'double' else dialect.ident(name)} "
        f"AS {dialect.ident(name)}"
        for name, kind in columns.items()
    ]
    if not source.keys:
        raw = engine.read_json(source, columns)
        return Frame(engine.view(f"SELECT {', '.join(selected)} FROM {raw}"), columns)
    queries = []
    for part in source.parts():
        raw = engine.read_json(part, columns)
        values = _partition_values(dialect, source, part)
        queries.append(f"SELECT {', '.join([*selected, *values])} FROM {raw}")
    return Frame(engine.view(" UNION ALL ".join(queries)), columns | _partition_kinds(source))
