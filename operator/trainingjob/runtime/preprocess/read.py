"""Reading: one rule for types, whatever the engine."""

from __future__ import annotations

import duckdb

from trainingjob.api.v1alpha1.preprocess import ColumnType, CsvOptions, Input

from ..errors import StageFailure
from . import source as sources
from .arrow import convert
from .dialect import DUCKDB, Dialect
from .engine_pandas import PandasEngine
from .frame import Engine, Frame
from .names import listed, refuse_duplicates
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
# Up to this size, files for Spark are inspected on the driver.
_SMALL_BYTES = 256 * 2**20
_NOT_FINITE_TEXTS = "('nan', 'inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity')"


def read_input(engine: Engine, source: Input, found: Source | None = None) -> Frame:
    """The input as a frame, of the files that were ``found`` already, if they were; raises
    StageFailure(Input…, DuplicateColumns)."""
    found = found or sources.find(source)
    if source.format == "csv":
        return _read_csv(engine, found, source.options or CsvOptions())
    if source.format == "json":
        return _read_json(engine, found)
    return _read_parquet(engine, found)


def _read_csv(engine: Engine, source: Source, options: CsvOptions) -> Frame:
    names, sample = sources.csv_header(source, options)
    refuse_duplicates(source.uri, names)
    hints = _codes_of_sample(sample, options, len(names))
    raw, codes, rows, line_breaks = _inspect(engine, source, options, hints)
    if not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    kinds = {name: kind_of_codes(code) for name, code in zip(names, codes, strict=True)}
    dialect = engine.dialect
    columns = [
        f"{_typed(dialect, f'c{index}', kind, options, line_breaks)} AS {dialect.ident(name)}"
        for index, (name, kind) in enumerate(kinds.items())
    ]
    return Frame(engine.view(f"SELECT {', '.join(columns)} FROM {raw}"), kinds)


def _inspect(
    engine: Engine, source: Source, options: CsvOptions, hints: list[int]
) -> tuple[str, list[int], int, bool]:
    """A view of the fields, what their values look like, the number of rows, and whether a field
    may have a line break; raises StageFailure(Input…)."""
    width = len(hints)
    try:
        if engine.runs_spark_sql and source.size <= _SMALL_BYTES:
            # A pass by DuckDB on the driver takes less time than starting one in Spark.
            with PandasEngine() as duckdb_engine:
                raw = duckdb_engine.read_csv(source, options, width)
                codes, rows, line_breaks = _tally(duckdb_engine, raw, options, hints)
            raw = engine.read_csv(source, options, width, line_breaks=line_breaks)
            return raw, codes, rows, line_breaks
        raw = engine.read_csv(source, options, width)
        codes, rows, suspicious = _tally(engine, raw, options, hints)
        if not engine.runs_spark_sql:
            return raw, codes, rows, suspicious
        suspicious = suspicious or engine.has_open_quotes(source, options.quote)
    except StageFailure as failure:
        sources.check_csv(source, options, width)
        raise _malformed(source, failure) from failure
    line_breaks = suspicious and sources.check_csv(source, options, width)
    if line_breaks:
        raw = engine.read_csv(source, options, width, line_breaks=True)
        codes, rows, _ = _tally(engine, raw, options, hints)
    return raw, codes, rows, line_breaks


def _malformed(source: Source, failure: StageFailure) -> StageFailure:
    """What an engine says of a file that it cannot read, and that we find nothing wrong with."""
    if failure.reason != "StepFailed":
        return failure
    return StageFailure("InputMalformed", f"{source.uri}: {failure.message}")


def _tally(
    engine: Engine, raw: str, options: CsvOptions, hints: list[int]
) -> tuple[list[int], int, bool]:
    """What the values of each column look like, the number of rows, and whether any row is
    suspicious: it has, or may have, a line break in a field."""
    names = [f"c{index}" for index in range(len(hints))]
    trimmed = ", ".join(f"trim({name}) AS {name}" for name in names)
    codes = ", ".join(
        f"bit_or({_code(engine.dialect, name, options, hint)})"
        for name, hint in zip(names, hints, strict=True)
    )
    (row,) = engine.rows(
        f"SELECT {codes}, count(*), max(malformed) "
        f"FROM (SELECT {trimmed}, malformed FROM {raw}) AS t"
    )
    *found, rows, malformed = row
    all_codes = [(code or 0) | hint for code, hint in zip(found, hints, strict=True)]
    suspicious = bool(malformed) or any(code & _SUSPICIOUS for code in all_codes)
    return [code & ~_SUSPICIOUS for code in all_codes], rows, suspicious


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
        f"WHEN {dialect.is_text_of(kind, value)} THEN {_CODES[kind]}" for kind in kinds
    )
    return (
        f"CASE WHEN {value} IS NULL OR {value} IN ({_null_texts(dialect, options)}) THEN 0 {tests} "
        f"WHEN lower({value}) IN {_NOT_FINITE_TEXTS} THEN {_NOT_FINITE} ELSE {text} END"
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
    """The narrowest type that holds every value seen; text when they have none in common."""
    if codes in (_CODES["boolean"], _CODES["bigint"], _CODES["date"]):
        return "boolean" if codes == 1 else "bigint" if codes == 2 else "date"
    if codes and not codes & ~(_CODES["bigint"] | _CODES["double"] | _NOT_FINITE):
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


def _read_parquet(engine: Engine, source: Source) -> Frame:
    schema = sources.parquet_schema(source)
    refuse_duplicates(source.uri, schema.names)
    return convert(engine, engine.read_parquet(source), schema, source.uri, "InputUnreadable")


# The JSON types of a key's values, nulls aside, and the type of its column.
_JSON_TYPES: dict[frozenset[str], ColumnType] = {
    frozenset(): "string",
    frozenset({"boolean"}): "boolean",
    frozenset({"integer"}): "bigint",
    frozenset({"number"}): "double",
    frozenset({"integer", "number"}): "double",
    frozenset({"string"}): "string",
}


def _read_json(engine: Engine, source: Source) -> Frame:
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
    types: dict[str, set[str]] = {name: set() for name in sources.first_json_keys(source)}
    for name, kind, _ in sorted(row for row in found if row[0] is not None):
        types.setdefault(name, set()).update({kind} - {"null"})  # type: ignore[arg-type]
    if not types:
        raise StageFailure("InputEmpty", f"{source.uri}: the objects have no keys")
    refuse_duplicates(source.uri, list(types))
    columns: dict[str, ColumnType] = {}
    for name, kinds in types.items():
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
    raw = engine.read_json(source, columns)
    return Frame(engine.view(f"SELECT {', '.join(selected)} FROM {raw}"), columns)
