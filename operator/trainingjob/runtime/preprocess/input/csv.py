"""Reading CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ...base.errors import StageFailure
from ..engines.duckdb import DuckdbEngine
from ..engines.frame import Engine, Frame
from ..expressions.dialect import Dialect
from ..expressions.duckdb_dialect import DUCKDB
from ..expressions.many import Same, select
from ..names import check_names, refuse_keys
from ..notes import Notes
from .absent import tell_absent
from .called import field
from .csv_files import (
    CsvHeads,
    as_written,
    check_csv,
    csv_heads,
    is_odd,
    lines_of,
    written_anew,
)
from .csv_tally import Tally, tally_of
from .csv_warnings import tell
from .files import Source, malformed
from .partitions import partition_kinds, partition_values
from .schema import Wanted, refuse_unknown
from .scratch import Scratch
from .texts import (
    CODES,
    codes_of_sample,
    is_mixed,
    kind_of_codes,
    null_texts,
    number_pattern,
    plain_number,
    typed_nulls,
    unlike,
)

# The texts of a row that has a value unlike the sample's.
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
    csv = Csv(source, options, heads, dict(wanted), source, options)
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
    tell(csv, kinds, tally, notes)
    if at_once is not None:
        return frame
    query, columns = _typed(engine.dialect, csv, raw, kinds, zone, line_breaks)
    return Frame(engine.view(query), columns, most=tally.rows)


def _as_sampled(
    engine: Engine, csv: Csv, hints: list[int], zone: str | None
) -> tuple[Frame, Tally] | None:
    """The frame, hashed, in one pass over the files; None unless every value of theirs looks like
    some of the sample's, so that these tell the types. Where a later one does not, the rows like it
    are looked at as well, and there is a second pass."""
    if not isinstance(engine, DuckdbEngine) or any(w.kind != "string" for w in csv.wanted.values()):
        return None
    names = [f"c{index}" for index in range(csv.width)]
    for _ in range(2):
        tally = Tally.of(csv, hints)
        if tally.suspicious or not all(tally.codes) or any(map(is_mixed, tally.codes)):
            return None
        odd = unlike(DUCKDB, names, csv.options, hints)
        texts = f"CASE WHEN {odd} <> 0 THEN {DUCKDB.array(names)} END AS {_ODD}"
        try:
            raw = csv.read(engine)
            kinds = csv.kinds(tally.codes)
            query, columns = _typed(engine.dialect, csv, raw, kinds, zone, False, texts)
            # A view would have the query planned twice.
            frame = Frame(f"({query})", columns, hidden=(_ODD,))
            made, records = engine.hashed_unless(frame, _ODD)
        except StageFailure as failure:
            if failure.reason in ("DiskFull", "OutOfMemory"):
                raise  # and would be met again
            return None  # the other way says what it is
        if made is not None:
            ((rows,),) = engine.rows(f"SELECT count(*) FROM {made.view}")
            return made, replace(tally, rows=rows)
        seen = codes_of_sample(records, csv.options, csv.width)
        wider = [
            hint if name in csv.wanted else hint | code
            for name, hint, code in zip(csv.heads.names, hints, seen, strict=True)
        ]
        if wider == hints:
            return None
        hints = wider
    return None


def _check_names(source: Source, options: CsvOptions, heads: CsvHeads) -> None:
    refuse_keys(source.uri, heads.names, source.keys)
    try:
        check_names(source.uri, [*heads.names, *source.keys])
    except StageFailure as failure:
        number = re.compile(number_pattern(options))
        values = sum(bool(number.fullmatch(name)) for name in heads.names)
        if not options.header:
            raise
        where = field("options")
        advice = (
            f"the first line has values and no names: set {where}.header to false"
            if values * 2 >= len(heads.names)
            else f"{where}: {{header: false, skipRows: {(options.skip_rows or 0) + 1}}} leaves the "
            "line of names out: columns are c0, c1, … then"
        )
        message = f"{failure.message}; {advice}"
        raise StageFailure(failure.reason, message) from failure


@dataclass(frozen=True)
class Csv:
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

    def written_anew(self, scratch: Scratch) -> Csv:
        """The same as plain CSV."""
        plain, options = written_anew(self.source, self.options, self.heads, scratch)
        return replace(self, plain=plain, plain_options=options)

    def refuse_misfits(self, tally: Tally) -> None:
        """Raises StageFailure(InputMalformed) for a value that is not of the type that is given."""
        for name, (count, value) in tally.misfits.items():
            found = lines_of(self.source, self.options, name, value.__eq__, 1)
            advice = f"; set {field('options.nullValues')} if it stands for null"
            where = found.get(value, self.source.uri)
            raise self.wanted[name].misfit(name, value, where, count, advice)


def _inspect(
    engine: Engine, csv: Csv, hints: list[int], scratch: Scratch
) -> tuple[str, Tally, bool]:
    """A view of the fields, what their values look like, and whether a field may have a line
    break; raises StageFailure(Input…)."""
    source, options = csv.source, csv.options
    try:
        if engine.runs_spark_sql and source.size <= _SMALL_BYTES:
            # A pass by DuckDB on the driver takes less time than starting one in Spark.
            with DuckdbEngine() as duckdb_engine:
                tally = tally_of(duckdb_engine, csv.read(duckdb_engine), csv, hints)
            return csv.read(engine, line_breaks=tally.suspicious), tally, tally.suspicious
        raw = csv.read(engine)
        tally = tally_of(engine, raw, csv, hints)
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
        tally = tally_of(engine, raw, csv, hints)
    return raw, tally, line_breaks


def _typed(
    dialect: Dialect,
    csv: Csv,
    raw: str,
    kinds: Mapping[str, ColumnType],
    zone: str | None,
    line_breaks: bool,
    *more: str,
) -> tuple[str, dict[str, ColumnType]]:
    """A query for the fields of a view as values of these types, or of those that are wanted; its
    columns."""
    source = csv.source
    columns: dict[str, str | Same] = {}
    made: dict[str, ColumnType] = {}
    for index, (name, kind) in enumerate(kinds.items()):
        one = csv.wanted.get(name) or Wanted(kind, None, zone)
        made[name] = one.kind
        write = partial(_value, dialect, one, name in csv.wanted, csv.options, line_breaks)
        columns[name] = Same(f"c{index}", write)
    keys = [f"{csv.key(key)} AS {dialect.ident(key)}" for key in source.keys]
    return select(dialect, columns, [*keys, *more], raw), made | partition_kinds(source)


def _value(
    dialect: Dialect,
    one: Wanted,
    given: bool,
    options: CsvOptions,
    line_breaks: bool,
    column: str,
) -> str:
    text, trimmed = column, dialect.trimmed(column)
    if one.kind in ("bigint", "double"):
        text = plain_number(dialect, trimmed, options)
        text = column if text == trimmed else text
    elif given and one.kind != "string":
        text = trimmed
    value = one.value(dialect, text) if given else one.read(dialect, text)
    if one.kind == "string" and options.trim:
        value = dialect.trimmed(value)
    if one.kind == "string" and line_breaks:
        # Spark makes one character of both where lines end with both.
        value = f"replace({value}, chr(13) || chr(10), chr(10))"
    if one.kind == "string" or given or typed_nulls(options):
        return f"CASE WHEN {trimmed} NOT IN ({null_texts(dialect, options)}) THEN {value} END"
    return value
