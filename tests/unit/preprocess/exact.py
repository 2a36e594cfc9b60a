"""Values that readers are known to round, shift or lose, and what becomes of each: read as their
writer meant them, or told, or refused in the words of the case. One table for both engines.

What is right is computed by others: Python's json, int and decimal, and the values that pyarrow has
written. A row of the table has files of one column ``v``, unless its text says otherwise.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.input.scratch import Scratch
from trainingjob.runtime.preprocess.notes import Notes

D = decimal.Decimal
NAN, INFINITE = float("nan"), float("inf")


@dataclass(frozen=True)
class Kept:
    """What is read, and the warnings: a reason and a part of its words, for each engine the same."""

    kind: str
    values: Sequence[Any]
    told: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class NotKept:
    """A column that is refused where it is used, or a file that is, and a part of the words."""

    words: str


@dataclass(frozen=True)
class Row:
    format: str
    write: Callable[[Path], object]
    becomes: Kept | NotKept
    input: dict[str, Any] = field(default_factory=dict)
    spark: Kept | NotKept | None = None  # where it is another


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def text_of(format: str, text: str, becomes: Kept | NotKept, **input: Any) -> Row:
    return Row(format, lambda file: file.write_text(text, "utf-8"), becomes, input)


def csv(values: Sequence[str], becomes: Kept | NotKept, **input: Any) -> Row:
    return text_of("csv", "v,n\n" + "".join(f"{one},1\n" for one in values), becomes, **input)


def late(value: str, first: str, becomes: Kept | NotKept, **input: Any) -> Row:
    """A value that is beyond the records which the types are guessed from."""
    return csv([*[first] * 2000, value], becomes, **input)


def lines(values: Sequence[str], becomes: Kept | NotKept, **input: Any) -> Row:
    """JSON, of values as they are written."""
    rows = "".join(f'{{"v": {one}, "n": 1}}\n' for one in values)
    return text_of("json", rows, becomes, **input)


def parquet(values: pa.Array, becomes: Kept | NotKept, **options: Any) -> Row:
    spark, input = options.pop("spark", None), options.pop("input", {})
    table = pa.table({"v": values, "n": pa.array([1] * len(values))})
    return Row(
        "parquet", lambda file: pq.write_table(table, file, **options), becomes, input, spark
    )


def orc_file(values: pa.Array, becomes: Kept | NotKept, spark: Kept | NotKept | None = None) -> Row:
    table = pa.table({"v": values, "n": pa.array([1] * len(values))})
    return Row("orc", lambda file: orc.write_table(table, file), becomes, {}, spark)


ROUNDED, NULLED, TEXT = "ValuesRounded", "ValuesBecameNull", "ReadAsText"
DOUBLES = (ROUNDED, "read as doubles, which hold 15 to 17 digits")
BEYOND = (TEXT, "beyond 64 bits, and a double would round them")
INFINITIES = (NULLED, "infinite values, or numbers beyond 1.8e308, are read as null")
DECIMALS = (
    ROUNDED,
    "preprocess.input.schema: {v: string}, or .astype(str) in a script, keeps them, as text",
)
ID, NEXT = "12345678901234567890", "12345678901234567891"  # of 20 digits
UUID = str(2**128 - 1)  # as a number, of 39
CENT = "12345678901234567.89"
DAYS = [day("1500-01-01"), day("0001-01-01"), day("1582-10-10"), day("9999-12-31")]
TIMES = [moment("1500-01-01T12:00"), moment("0001-01-01"), moment("9999-12-31T23:59:59.999999")]
YEAR_10000 = 253_402_300_800_000

ROWS: dict[str, Row] = {
    # --- CSV
    "ids of 20 digits": csv([ID, NEXT], Kept("string", [ID, NEXT], [BEYOND])),
    "an id of 20 digits, late": late(ID, "1", Kept("string", ["1", ID], [BEYOND])),
    "ids of 20 digits among fractions": csv([ID, "0.5"], Kept("double", [float(ID), 0.5], [DOUBLES])),
    "whole numbers of 64 bits": csv([str(2**63 - 1), str(-(2**63))], Kept("bigint", [2**63 - 1, -(2**63)])),
    "2**53 + 1 among fractions": csv([str(2**53 + 1), "0.5"], Kept("double", [float(2**53 + 1), 0.5], [DOUBLES])),
    "2**53 + 1 among fractions, late": late(str(2**53 + 1), "0.5", Kept("double", [0.5, float(2**53 + 1)], [DOUBLES])),
    "money of 17 digits and cents": csv([CENT, "0.5"], Kept("double", [float(CENT), 0.5], [DOUBLES])),
    "money of 17 digits and cents, late": late(CENT, "0.5", Kept("double", [0.5, float(CENT)], [DOUBLES])),
    "a fraction of many digits": csv(["0.12345678901234567890", "1"], Kept("double", [float("0.12345678901234567890"), 1.0])),
    "1e400": csv(["1e400", "0.5"], Kept("double", [None, 0.5], [INFINITIES])),
    "infinity, late": late("-inf", "0.5", Kept("double", [0.5, None], [INFINITIES])),
    "1e-400": csv(["1e-400", "1"], Kept("double", [0.0, 1.0])),
    "zero below zero": csv(["-0.0", "-1.5"], Kept("double", [0.0, -1.5])),
    "codes with leading zeros": csv(["007", "8"], Kept("string", ["007", "8"], [(TEXT, "leading zeros, as codes have")])),
    "hexadecimal": csv(["0x1F", "0x2A"], Kept("string", ["0x1F", "0x2A"])),
    "digits with underscores": csv(["1_000", "2_000"], Kept("string", ["1_000", "2_000"])),
    "digits of another script, late": late("٥", "1", Kept("string", ["1", "٥"], [(TEXT, '"٥"')])),
    "a blank that does not break before a whole number, late": late("\u00a05", "1", Kept("string", ["1", "\u00a05"], [(TEXT, "2000 of its values are numbers, 1 are not")])),
    "the same before a number": late("\u00a05.5", "1.5", Kept("string", ["1.5", "\u00a05.5"], [(TEXT, "2000 of its values are numbers, 1 are not")])),
    "the same before a day": late("\u00a02020-01-02", "2020-01-01", Kept("string", ["2020-01-01", "\u00a02020-01-02"], [(TEXT, "2000 of its values are dates, 1 are not")])),
    "the same before a boolean": late("\u00a0true", "true", Kept("string", ["true", "\u00a0true"])),
    "the same before NA": csv(["a", "\u00a0NA"], Kept("string", ["a", "\u00a0NA"])),
    "the same before a number of a type that is given": late("\u00a05", "1", NotKept("is no bigint"), schema={"v": "bigint"}),
    "blanks before a number": late("  5 ", "1", Kept("bigint", [1, 5])),
    "days before 1582 and the year 9999": csv([str(one) for one in DAYS], Kept("date", DAYS)),
    "a day of Julius' calendar alone": csv(["1500-02-29", "2000-02-29"], Kept("string", ["1500-02-29", "2000-02-29"])),
    "the year 10000": csv(["10000-01-01", "9999-12-31"], Kept("string", ["10000-01-01", "9999-12-31"])),
    "a leap second": csv(["2016-12-31T23:59:60", "2017-01-01T00:00:00"], Kept("string", ["2016-12-31T23:59:60", "2017-01-01T00:00:00"])),
    "nanoseconds": csv(["2020-01-01T00:00:00.123456789"], Kept("string", ["2020-01-01T00:00:00.123456789"])),
    "times with zones": csv(["2020-01-01 10:00:00+05:30", "2020-01-01 23:00:00-05"], Kept("timestamp", [moment("2020-01-01T04:30"), moment("2020-01-02T04:00")])),
    "an hour that there is not, and one that there is twice": csv(["2024-03-31 02:30:00", "2024-10-27 02:30:00"], Kept("timestamp", [moment("2024-03-31T01:30"), moment("2024-10-27T00:30")]), timeZone="Europe/Berlin"),
    "true as a text": csv(["True", "FALSE"], Kept("boolean", [True, False])),
    "a time where days are wanted": csv(["2020-01-01 10:00:00"], NotKept("is no date"), schema={"v": "date"}),
    # --- JSON
    "1e400 in JSON": lines(["1e400", "1.5"], Kept("double", [None, 1.5], [INFINITIES])),
    "1e400 alone": lines(["-1e400", "null"], Kept("double", [None, None], [INFINITIES])),
    "1e400 in an object": lines(['{"x": 1e400}', '{"x": 1}'], Kept("double", [None, 1.0], [INFINITIES])),
    "1e400 in a list": lines(["[1e400]", "[1.5]"], Kept("double", [None, 1.5], [INFINITIES])),
    "1e400 in an array of objects": text_of("json", '[{"v": 1e400, "n": 1}, {"v": 1, "n": 1}]', Kept("double", [None, 1.0], [INFINITIES])),
    "1e400 where whole numbers are wanted": lines(["1e400", "1"], Kept("bigint", [None, 1], [INFINITIES]), schema={"v": "bigint"}),
    "a number near the greatest": lines(["1.7976931348623157e308", "1"], Kept("double", [1.7976931348623157e308, 1.0])),
    "ids of 20 digits in JSON": lines([ID, NEXT], Kept("string", [ID, NEXT], [BEYOND])),
    "UUIDs as numbers": lines([UUID, "1"], Kept("string", [UUID, "1"], [BEYOND])),
    "UUIDs as numbers in an array of objects": text_of("json", f'[{{"v": {UUID}, "n": 1}}]', Kept("string", [UUID], [BEYOND])),
    "UUIDs as numbers in objects": lines([f'{{"x": {UUID}}}', '{"x": 1}'], Kept("string", [UUID, "1"], [BEYOND])),
    "UUIDs as numbers among fractions": lines([UUID, "0.5"], Kept("double", [float(UUID), 0.5], [DOUBLES])),
    "400 digits": lines(["9" * 400, "1"], Kept("string", ["9" * 400, "1"], [BEYOND])),
    "2**53 + 1 among fractions in JSON": lines([str(2**53 + 1), "0.5"], Kept("double", [float(2**53 + 1), 0.5], [DOUBLES])),
    "2**53 + 1 in lists": lines([f"[{2**53 + 1}]", "[1]"], Kept("bigint", [2**53 + 1, 1])),
    "2**53 + 1 in lists with fractions": lines([f"[{2**53 + 1}]", "[0.5]"], Kept("double", [float(2**53 + 1), 0.5], [DOUBLES])),
    "2**53 + 1 in a list with fractions": lines([f'{{"w": [0.5, {2**53 + 1}]}}'] * 2, Kept("double", [0.5, 0.5], [DOUBLES])),
    "ids of 20 digits in lists": lines([f"[{ID}]", "[1]"], Kept("double", [float(ID), 1.0], [DOUBLES])),
    "embeddings": lines(["[0.1234567890123456789]", "[-1.5e-7]"], Kept("double", [0.12345678901234568, -1.5e-7])),
    "ids of a type that is given": lines([ID, "1"], Kept("string", [ID, "1"]), schema={"v": "string"}),
    "text that looks like numbers": lines(['"1e400"', '": 1234567890123456789012345678901234567890, "'], Kept("string", ["1e400", ": 1234567890123456789012345678901234567890, "])),
    "a text with the character 0": lines(['"a\\u0000b"'] * 2, Kept("string", ["a\0b"] * 2)),
    "NaN": lines(["NaN", "1"], NotKept("NaN is not JSON")),
    "a key twice": text_of("json", '{"v": 1, "v": 2}\n', NotKept("a key appears twice")),
    # --- Parquet
    "uint64": parquet(pa.array([1, 2**64 - 1], pa.uint64()), Kept("string", ["1", str(2**64 - 1)], [BEYOND])),
    "int64 with nulls": parquet(pa.array([2**63 - 1, -(2**63), None]), Kept("bigint", [2**63 - 1, -(2**63), None])),
    "whole decimals of 38 digits": parquet(pa.array([D(10**37), D(-1)], pa.decimal128(38, 0)), Kept("string", [str(10**37), "-1"], [BEYOND])),
    "decimals of 30 digits": parquet(pa.array([D("12345678901234567890.1234567891"), D("1.5")], pa.decimal128(38, 10)), Kept("double", [float("12345678901234567890.1234567891"), 1.5], [DECIMALS])),
    "decimals of 18 digits": parquet(pa.array([D("9007199254740993.25"), D("0.01")], pa.decimal128(18, 2)), Kept("double", [9007199254740993.25, 0.01], [DECIMALS])),
    "decimals of few digits in a wide type": parquet(pa.array([D("1234567.1"), D("-0.07"), None], pa.decimal128(38, 18)), Kept("double", [1234567.1, -0.07, None])),
    "decimals as texts": parquet(pa.array([D("12345678901234567890.10"), D(0), D("-0.07"), D("0.000001")], pa.decimal128(38, 10)), Kept("string", ["12345678901234567890.1000000000", "0.0000000000", "-0.0700000000", "0.0000010000"]), input={"schema": {"v": "string"}}),
    "decimals as doubles, as wished": parquet(pa.array([D("9007199254740993.25")], pa.decimal128(18, 2)), Kept("double", [9007199254740993.25]), input={"schema": {"v": "double"}}),
    "decimals of 60 digits": parquet(pa.array([D(10**50)], pa.decimal256(60, 0)), NotKept("write it as a text, or as a double")),
    "NaN, null and zero below zero": parquet(pa.array([NAN, None, -0.0, 1.5]), Kept("double", [None, None, 0.0, 1.5])),
    "infinity": parquet(pa.array([INFINITE, 1.5]), Kept("double", [None, 1.5], [INFINITIES])),
    "infinity that no statistics tell": parquet(pa.array([INFINITE, 1.5]), Kept("double", [None, 1.5], [INFINITIES]), write_statistics=False),
    "infinity in lists that no statistics tell": parquet(pa.array([[INFINITE], [1.5]]), Kept("double", [None, 1.5], [INFINITIES]), write_statistics=False),
    "no infinity, and no statistics": parquet(pa.array([NAN, 1.5]), Kept("double", [None, 1.5]), write_statistics=False),
    "float32": parquet(pa.array([0.1, 16777216], pa.float32()), Kept("double", [float(np.float32(0.1)), 16777216.0])),
    "float16": parquet(pa.array(np.array([65504, 6e-8], np.float16)), Kept("double", [65504.0, float(np.float16(6e-8))]), spark=NotKept("write it as float32, or use engine pandas")),
    "infinity of float16": parquet(pa.array(np.array([np.inf, 1], np.float16)), Kept("double", [None, 1.0], [INFINITIES]), spark=NotKept("write it as float32, or use engine pandas")),
    "categories of whole numbers": parquet(pa.array([2**53 + 1, 2]).dictionary_encode(), Kept("bigint", [2**53 + 1, 2])),
    "nanoseconds in Parquet": parquet(pa.array([1_600_000_000_000_001_001], pa.timestamp("ns")), Kept("timestamp", [moment("2020-09-13T12:26:40.000001")], [(ROUNDED, "cut to microseconds")])),
    "times of another zone": parquet(pa.array([1_600_000_000], pa.timestamp("s", "Asia/Kolkata")), Kept("timestamp", [moment("2020-09-13T12:26:40")])),
    "times before 1582, and the year 9999": parquet(pa.array(TIMES, pa.timestamp("us")), Kept("timestamp", TIMES)),
    "the same with a zone": parquet(pa.array(TIMES, pa.timestamp("us", "UTC")), Kept("timestamp", TIMES)),
    "times of 96 bits, as Spark and Hive write them": parquet(pa.array([moment("1500-01-01"), moment("9999-12-31"), moment("2020-01-01T10:00:00.000005")]), Kept("timestamp", [moment("1500-01-01"), moment("9999-12-31"), moment("2020-01-01T10:00:00.000005")]), use_deprecated_int96_timestamps=True),
    "the greatest times that Java has": parquet(pa.array([2**62, 0], pa.timestamp("ms")), NotKept("has times beyond the year 294246")),
    "days before 1582 in Parquet": parquet(pa.array(DAYS), Kept("date", DAYS)),
    "days as milliseconds": parquet(pa.array(DAYS, pa.date64()), Kept("date", DAYS)),
    "times where days are wanted": parquet(pa.array([moment("2020-01-01T10:00")]), NotKept("is no date"), input={"schema": {"v": "date"}}),
    "midnights where days are wanted": parquet(pa.array([moment("2020-01-01T00:00")]), Kept("date", [day("2020-01-01")]), input={"schema": {"v": "date"}}),
    "2 where booleans are wanted": parquet(pa.array([0, 2]), NotKept('"2"'), input={"schema": {"v": "boolean"}}),
    "times of day": parquet(pa.array([datetime.time(1, 2, 3)]), NotKept("write it as a text, or as seconds since midnight")),
    "durations": parquet(pa.array([datetime.timedelta(seconds=5)], pa.duration("us")), NotKept("total_seconds()")),
    "bytes": parquet(pa.array([b"a\xff"]), NotKept("frame[…].str.decode('utf-8'), or .map(bytes.hex)")),
    "UUIDs": parquet(pa.array([b"0123456789abcdef"], pa.uuid()), NotKept("write it as a text: frame[…].astype(str)")),
    "a text with the character 0 in Parquet": parquet(pa.array(["a\0b"]), Kept("string", ["a\0b"])),
    # --- ORC
    "days before 1582 in ORC": orc_file(pa.array(DAYS[:3]), Kept("date", DAYS[:3]), NotKept("set engine to pandas, or write Parquet")),
    "days after 1582 in ORC": orc_file(pa.array([day("1582-10-15"), DAYS[3]]), Kept("date", [day("1582-10-15"), DAYS[3]])),
    "times before 1678 in ORC": orc_file(pa.array([TIMES[0]], pa.timestamp("us")), NotKept("set engine to spark, or write Parquet"), Kept("timestamp", [TIMES[0]])),
    "decimals of 30 digits in ORC": orc_file(pa.array([D("12345678901234567890.1234567891"), D("1.5")], pa.decimal128(38, 10)), Kept("double", [float("12345678901234567890.1234567891"), 1.5], [DECIMALS])),
    "infinity in ORC": orc_file(pa.array([INFINITE, 1.5]), Kept("double", [None, 1.5], [INFINITIES])),
    "infinity in lists of ORC": orc_file(pa.array([[INFINITE], [1.5]]), Kept("double", [None, 1.5], [INFINITIES])),
}  # fmt: skip


def check(name: str, engine: Engine, folder: Path) -> None:
    """Read a row's file, and compare."""
    row = ROWS[name]
    file = folder / f"data.{row.format}"
    row.write(file)
    source = Input.model_validate({"uri": f"file://{file}", "format": row.format, **row.input})
    becomes = row.spark if engine.runs_spark_sql and row.spark else row.becomes
    notes = Notes()
    try:
        frame = read_input(engine, source, None, notes, Scratch(folder / "scratch"))
        if isinstance(becomes, NotKept) and "v" in frame.unread:
            assert becomes.words in frame.unread["v"].why
            return
        column = next(iter(frame.columns))
        selected = engine.dialect.ident(column)
        rows = engine.rows(f"SELECT {selected} FROM {frame.view}")
    except StageFailure as failure:
        assert isinstance(becomes, NotKept), failure.message
        assert becomes.words in failure.message
        return
    assert isinstance(becomes, Kept), rows[-3:]
    assert frame.columns[column] == becomes.kind
    told = [(warning.reason, warning.message) for warning in notes.warnings]
    assert [reason for reason, _ in told] == [reason for reason, _ in becomes.told], told
    for (_, message), (_, words) in zip(told, becomes.told, strict=True):
        assert words.replace("{v:", f"{{{column}:") in message
    found = {repr(_plain(value)) for (value,) in rows}
    assert found == {repr(value) for value in becomes.values}


def _plain(value: Any) -> Any:
    """The engines differ in whether they say that times are UTC."""
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value
