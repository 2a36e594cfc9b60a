"""Reading: one rule for types, whatever the engine."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from trainingjob.api.v1alpha1.preprocess import ColumnType, CsvOptions, Input

from ..errors import StageFailure
from . import source as sources
from .dialect import DUCKDB, Dialect
from .frame import Engine, Frame
from .names import refuse_duplicates
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
_NOT_FINITE_TEXTS = "('nan', 'inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity')"


def read(engine: Engine, source: Input) -> Frame:
    """The input as a frame; raises StageFailure(Input…, DuplicateColumns)."""
    found = sources.find(source)
    if source.format == "csv":
        return _read_csv(engine, found, source.options or CsvOptions())
    if source.format == "json":
        return _read_json(engine, found)
    return engine.read_parquet(found)


def _read_csv(engine: Engine, source: Source, options: CsvOptions) -> Frame:
    names, sample = sources.csv_header(source, options)
    refuse_duplicates(source.uri, names)
    hints = _codes_of_sample(sample, options, len(names))
    raw = engine.read_csv(source, options, len(names))
    try:
        codes, suspicious = _tally(engine, raw, options, hints)
    except StageFailure:
        sources.explain_csv(source, options, len(names))
        raise
    if suspicious:
        sources.explain_csv(source, options, len(names))
        raw = engine.read_csv(source, options, len(names), line_breaks=True)
        codes, _ = _tally(engine, raw, options, hints)
    kinds = {name: kind_of_codes(code) for name, code in zip(names, codes, strict=True)}
    dialect = engine.dialect
    columns = [
        f"{_typed(dialect, f'c{index}', kind, options)} AS {dialect.ident(name)}"
        for index, (name, kind) in enumerate(kinds.items())
    ]
    return Frame(engine.view(f"SELECT {', '.join(columns)} FROM {raw}"), kinds)


def _tally(
    engine: Engine, raw: str, options: CsvOptions, hints: list[int]
) -> tuple[list[int], bool]:
    """What the values of each column look like, and whether any row is suspicious."""
    names = [f"c{index}" for index in range(len(hints))]
    trimmed = ", ".join(f"trim({name}) AS {name}" for name in names)
    codes = ", ".join(
        f"bit_or({_code(engine.dialect, name, options, hint)})"
        for name, hint in zip(names, hints, strict=True)
    )
    (row,) = engine.rows(
        f"SELECT {codes}, max(suspicious) FROM (SELECT {trimmed}, suspicious FROM {raw}) AS t"
    )
    return [(code or 0) | hint for code, hint in zip(row, hints, strict=False)], bool(row[-1])


def _code(dialect: Dialect, value: str, options: CsvOptions, hint: int) -> str:
    """The code of a text. ``hint``: codes that the column is known to have, which spare tests:
    the type of a column with a fraction does not depend on which other numbers are whole."""
    if hint & _CODES["string"]:
        return "0"
    kinds: list[ColumnType] = ["bigint", "double", "date", "timestamp", "boolean"]
    if hint & _CODES["double"]:
        kinds.remove("bigint")
    elif hint & (_CODES["date"] | _CODES["timestamp"]):
        kinds = ["date", "timestamp"]
    tests = " ".join(f"WHEN {dialect.is_text_of(kind, value)} THEN {_CODES[kind]}" for kind in kinds)
    return (
        f"CASE WHEN {value} IS NULL OR {value} IN ({_null_texts(dialect, options)}) THEN 0 {tests} "
        f"WHEN lower({value}) IN {_NOT_FINITE_TEXTS} THEN {_NOT_FINITE} ELSE {_CODES['string']} END"
    )


def _codes_of_sample(sample: list[list[str]], options: CsvOptions, width: int) -> list[int]:
    if not sample:
        return [0] * width
    names = [f"c{index}" for index in range(width)]
    codes = ", ".join(f"bit_or({_code(DUCKDB, name, options, 0)})" for name in names)
    arrays = [pa.array([record[index].strip(" ") for record in sample]) for index in range(width)]
    with duckdb.connect() as db:
        db.register("sample", pa.table(arrays, names=names))
        (row,) = db.execute(f"SELECT {codes} FROM sample").fetchall()
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


def _typed(dialect: Dialect, column: str, kind: ColumnType, options: CsvOptions) -> str:
    value = dialect.parse(kind, column, checked=True)
    if kind == "string" or options.null_value:
        nulls = _null_texts(dialect, options)
        return f"CASE WHEN trim({column}) NOT IN ({nulls}) THEN {value} END"
    return value


def _null_texts(dialect: Dialect, options: CsvOptions) -> str:
    return ", ".join(sorted({"''", dialect.text(options.null_value)}))


def _read_json(engine: Engine, source: Source) -> Frame:
    raise NotImplementedError
