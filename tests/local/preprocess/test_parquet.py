"""Parquet files as their writers meant them: columns as pandas' own reader has them, kept, told or
refused by both engines."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine, Unread
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.notes import Notes

FRAME = pd.DataFrame({"x": [1.5, 2.5, 3.5], "n": [3, 4, 5]})
Write = Callable[[Path], None]


@pytest.fixture(scope="module")
def engines(spark: Any) -> Iterator[dict[str, Engine]]:
    with DuckdbEngine() as one, SparkEngine({}) as other:
        yield {"pandas": one, "spark": other}


def found(
    engine: Engine, path: str, form: str = "parquet"
) -> tuple[dict[str, str], list[Any], list[str]]:
    """Columns, rows, and the reasons of the warnings."""
    notes = Notes()
    source = Input.model_validate({"uri": f"file://{path}", "format": form})
    frame = read_input(engine, source, None, notes)
    names = ", ".join(engine.dialect.ident(name) for name in frame.columns)
    rows = engine.rows(f"SELECT {names} FROM {frame.view}")
    assert notes.rows == len(rows)
    return dict(frame.columns), sorted(rows, key=repr), [w.reason for w in notes.warnings]


# --- the index of a pandas frame: the oracle is pandas' own reader -----------------------------
INDEXES: dict[str, tuple[Callable[[], pd.DataFrame], list[str]]] = {
    "of its own": (lambda: FRAME, []),
    "shuffled": (lambda: FRAME.sample(frac=1, random_state=1), ["ColumnLeftOut"]),
    "filtered": (lambda: FRAME[FRAME["n"] != 4], ["ColumnLeftOut"]),
    "a range with steps": (lambda: FRAME[::2], []),
    "with a name": (lambda: FRAME.set_index("n"), ["ColumnLeftOut"]),
    "a range with a name": (lambda: FRAME.rename_axis("row"), []),
    "of several levels": (lambda: FRAME.assign(a=1, b=[1, 2, 3]).set_index(["a", "b"]), ["ColumnLeftOut"]),
    "of days": (lambda: FRAME.set_index(pd.date_range("2020-01-01", periods=3, unit="us")), ["ColumnLeftOut"]),
    "named like a column of another frame": (lambda: FRAME.set_index(pd.Index([7, 8, 9], name="id")), ["ColumnLeftOut"]),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_no_column(name: str, engines: dict[str, Engine], tmp_path: Path) -> None:
    make, warnings = INDEXES[name]
    make().to_parquet(tmp_path / "in.parquet")
    expected = pd.read_parquet(tmp_path / "in.parquet")
    for engine_name, engine in engines.items():
        columns, rows, told = found(engine, f"{tmp_path}/in.parquet")
        assert list(columns) == list(expected.columns), engine_name
        assert rows == sorted(expected.itertuples(index=False, name=None), key=repr), engine_name
        assert told == warnings, engine_name


def test_an_index_that_another_writer_kept_is_no_column(
    engines: dict[str, Engine], tmp_path: Path
) -> None:
    table = pa.table({"x": [1.5], "__index_level_0__": [7]})
    pq.write_table(table, tmp_path / "in.parquet")
    for engine in engines.values():
        assert found(engine, f"{tmp_path}/in.parquet") == (
            {"x": "double"},
            [(1.5,)],
            ["ColumnLeftOut"],
        )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"index_columns": 5}', '{"index_columns": [{}]}'])
def test_metadata_that_pandas_did_not_write(
    text: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    table = pa.table({"x": [1.5]}).replace_schema_metadata({"pandas": text})
    pq.write_table(table, tmp_path / "in.parquet")
    for engine in engines.values():
        assert found(engine, f"{tmp_path}/in.parquet")[0] == {"x": "double"}


def test_the_metadata_may_name_what_is_not_there(
    engines: dict[str, Engine], tmp_path: Path
) -> None:
    text = json.dumps({"index_columns": ["gone", "x"]})
    table = pa.table({"x": [1.5], "y": [1]}).replace_schema_metadata({"pandas": text})
    pq.write_table(table, tmp_path / "in.parquet")
    for engine in engines.values():
        assert found(engine, f"{tmp_path}/in.parquet")[0] == {"y": "bigint"}


# --- values, exactly ---------------------------------------------------------------------------
D = decimal.Decimal
VALUES: dict[str, tuple[pa.Array, str, list[Any], list[str]]] = {
    "uint64 within 64 bits": (pa.array([0, 2**63 - 1, None], pa.uint64()), "bigint", [0, 2**63 - 1, None], []),
    "uint64 beyond them": (pa.array([1, 2**64 - 1, None], pa.uint64()), "string", ["1", "18446744073709551615", None], ["ReadAsText"]),
    "whole decimals": (pa.array([D(1), D(2**53 + 1)], pa.decimal128(18, 0)), "bigint", [1, 2**53 + 1], []),
    "wide decimals within 64 bits": (pa.array([D(1), D(-(2**62))], pa.decimal128(38, 0)), "bigint", [1, -(2**62)], []),
    "wide decimals": (pa.array([D(1), D(-(10**30))], pa.decimal128(38, 0)), "string", ["1", str(-(10**30))], ["ReadAsText"]),
    "decimals with a fraction": (pa.array([D("1.10"), D("-0.07")], pa.decimal128(9, 2)), "double", [1.1, -0.07], []),
    "large integers with nulls": (pa.array([2**53 + 1, None], pa.int64()), "bigint", [2**53 + 1, None], []),
    "categories": (pa.array(["a", "b", "a"]).dictionary_encode(), "string", ["a", "b", "a"], []),
    "an empty text": (pa.array(["", None, " "]), "string", ["", None, " "], []),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_are_kept(name: str, engines: dict[str, Engine], tmp_path: Path) -> None:
    values, kind, expected, warnings = VALUES[name]
    pq.write_table(pa.table({"v": values}), tmp_path / "in.parquet")
    for engine_name, engine in engines.items():
        columns, rows, told = found(engine, f"{tmp_path}/in.parquet")
        assert columns == {"v": kind}, engine_name
        assert rows == sorted(((value,) for value in expected), key=repr), engine_name
        assert told == warnings, engine_name


def test_decimals_of_more_digits_than_any_engine_has_harm_no_other_column(
    engines: dict[str, Engine], tmp_path: Path
) -> None:
    table = pa.table({"v": pa.array([D(10**50)], pa.decimal256(60, 0)), "n": [1]})
    pq.write_table(table, tmp_path / "in.parquet")
    source = Input.model_validate({"uri": f"file://{tmp_path}/in.parquet", "format": "parquet"})
    for engine in engines.values():
        frame = read_input(engine, source)
        assert (dict(frame.columns), [*frame.unread]) == ({"n": "bigint"}, ["v"])
        assert engine.rows(f"SELECT n FROM {frame.view}") == [(1,)]


@pytest.mark.parametrize(("nanoseconds", "warnings"), [(0, []), (1, ["ValuesRounded"])])
def test_nanoseconds_that_are_cut_off_are_told(
    nanoseconds: int, warnings: list[str], engines: dict[str, Engine], tmp_path: Path
) -> None:
    moment = 1_600_000_000_000_001_000
    table = pa.table({"m": pa.array([moment + nanoseconds], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "in.parquet")
    for engine in engines.values():
        columns, rows, told = found(engine, f"{tmp_path}/in.parquet")
        assert (columns, told) == ({"m": "timestamp"}, warnings)
        assert rows[0][0].replace(tzinfo=None) == datetime.datetime(2020, 9, 13, 12, 26, 40, 1)


# --- several files -------------------------------------------------------------------------------
Tables = Mapping[str, dict[str, Any]]
A = {"n": [1, 2], "s": ["a", "b"]}
TOGETHER: dict[str, tuple[Tables, str, dict[str, str], list[Any], list[str]]] = {
    "columns in another order": ({"a": A, "b": {"s": ["c"], "n": [3]}}, "*.parquet", {"n": "bigint", "s": "string"}, [(1, "a"), (2, "b"), (3, "c")], []),
    "whole numbers and others": ({"a": A, "b": {"n": [2.5], "s": ["c"]}}, "*.parquet", {"n": "double", "s": "string"}, [(1.0, "a"), (2.0, "b"), (2.5, "c")], ["ValuesRounded"]),
    "narrow and wide numbers": ({"a": A, "b": {"n": pa.array([3], pa.int8()), "s": ["c"]}}, "*.parquet", {"n": "bigint", "s": "string"}, [(1, "a"), (2, "b"), (3, "c")], []),
    "a column more and one less": ({"a": A, "b": {"n": [3], "x": [0.5]}}, "*.parquet", {"n": "bigint", "s": "string", "x": "double"}, [(1, "a", None), (2, "b", None), (3, None, 0.5)], ["ColumnAbsent", "ColumnAbsent"]),
    "days and moments": ({"a": {"d": pa.array([0], pa.date32())}, "b": {"d": pa.array([0], pa.timestamp("us"))}}, "*.parquet", {"d": "timestamp"}, [(datetime.datetime(1970, 1, 1),)] * 2, []),
    "a column without values in one file": ({"a": A, "b": {"n": [None], "s": ["c"]}}, "*.parquet", {"n": "bigint", "s": "string"}, [(1, "a"), (2, "b"), (None, "c")], []),
    "a partitioned table": ({"k=1/a": A, "k=2/a": {"n": [3], "s": ["c"]}}, "", {"n": "bigint", "s": "string", "k": "bigint"}, [(1, "a", 1), (2, "b", 1), (3, "c", 2)], []),
    "a partitioned table by a glob": ({"k=1/a": A, "k=2/a": {"n": [3], "s": ["c"]}}, "k=*", {"n": "bigint", "s": "string", "k": "bigint"}, [(1, "a", 1), (2, "b", 1), (3, "c", 2)], []),
    "partitions with columns in another order": ({"k=x/a": A, "k=y/a": {"s": ["c"], "n": [3]}}, "*/*.parquet", {"n": "bigint", "s": "string", "k": "string"}, [(1, "a", "x"), (2, "b", "x"), (3, "c", "y")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_files_are_put_together_by_name(
    name: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    tables, path, columns, rows, warnings = TOGETHER[name]
    write(tmp_path, tables)
    for engine_name, engine in engines.items():
        result = found(engine, f"{tmp_path}/{path}")
        assert result == (columns, sorted(rows, key=repr), warnings), engine_name


def test_a_table_that_pandas_has_partitioned(engines: dict[str, Engine], tmp_path: Path) -> None:
    frame = FRAME.assign(month=[1, 2, 1], city=["a b", "ü/x", "z=1"])
    frame.to_parquet(tmp_path / "t", partition_cols=["month", "city"])
    expected = pd.read_parquet(tmp_path / "t").astype({"month": int, "city": str})
    for engine in engines.values():
        columns, rows, told = found(engine, f"{tmp_path}/t")
        assert columns == {"x": "double", "n": "bigint", "month": "bigint", "city": "string"}
        assert list(columns) == list(expected.columns)
        assert rows == sorted(expected.itertuples(index=False, name=None), key=repr)
        assert told == []


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "text and numbers": ({"n": ["1"], "s": ["a"]}, "is a bigint in {0}/a.parquet and a string in {0}/b.parquet"),
    "booleans and numbers": ({"n": [True], "s": ["a"]}, "is a bigint in {0}/a.parquet and a boolean in {0}/b.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_column_of_two_types_is_refused_only_where_it_is_used(
    name: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    other, why = DIFFERENT[name]
    write(tmp_path, {"a": A, "b": other})
    source = Input.model_validate({"uri": f"file://{tmp_path}/*.parquet", "format": "parquet"})
    for engine in engines.values():
        frame = read_input(engine, source)
        advice = "; preprocess.input.schema: {n: string} makes text of all"
        assert frame.unread == {"n": Unread("ColumnsDiffer", why.format(tmp_path) + advice)}
        assert sorted(engine.rows(f"SELECT s FROM {frame.view}")) == [("a",), ("a",), ("b",)]


def test_a_column_of_two_types_may_be_given_one(engines: dict[str, Engine], tmp_path: Path) -> None:
    write(tmp_path, {"a": A, "b": {"n": ["03"], "s": ["c"]}})
    expected: dict[Any, list[Any]] = {
        "string": [("1",), ("2",), ("03",)],
        "bigint": [(1,), (2,), (3,)],
    }
    for kind, rows in expected.items():
        source = Input.model_validate(
            {"uri": f"file://{tmp_path}/*", "format": "parquet", "schema": {"n": kind}}
        )
        for engine in engines.values():
            frame = read_input(engine, source)
            assert sorted(engine.rows(f"SELECT n FROM {frame.view}")) == sorted(rows)


def test_files_that_have_nothing_in_common_are_refused(
    engines: dict[str, Engine], tmp_path: Path
) -> None:
    write(tmp_path, {"a": A, "b": {"x": [1]}})
    for engine in engines.values():
        with pytest.raises(StageFailure) as caught:
            found(engine, f"{tmp_path}/*.parquet")
        assert caught.value.reason == "ColumnsDiffer"
        assert "b.parquet lacks n, s and has x besides, unlike" in caught.value.message


# --- structs and lists: the oracle is pyarrow's own reader ---------------------------------------
def test_structs_and_lists_become_columns(engines: dict[str, Engine], tmp_path: Path) -> None:
    numbers = [[0.5, 1.5], [2.5, None], None]
    structs = [{"a": 1, "in": {"t": "x"}}, {"a": None, "in": None}, None]
    table = pa.table(
        {
            "fixed": pa.array(numbers, pa.list_(pa.float32(), 2)),
            "any": pa.array(numbers, pa.large_list(pa.float64())),
            "whole": [[1], [2], [3]],
            "price": pa.array([[D("1.10")], None, [D("-0.07")]]),
            "u": structs,
            "s": pa.array(["a", None, "b"], pa.large_string()),
            "at": pa.array([0, None, 3_600_000_000], pa.timestamp("us", "Europe/Berlin")),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    flat = pq.read_table(tmp_path / "in.parquet").flatten().flatten()
    expected: dict[str, list[Any]] = {}
    for name, values in zip(flat.column_names, flat.columns, strict=True):
        if name not in ("fixed", "any", "whole", "price"):
            expected[name] = values.to_pylist()
            continue
        width = max(len(one) for one in values.to_pylist() if one)
        for place in range(width):
            expected[f"{name}_{place}"] = [one and one[place] for one in values.to_pylist()]
    expected["price_0"] = [None if value is None else float(value) for value in expected["price_0"]]
    expected["at"] = [
        value and value.astimezone(datetime.UTC).replace(tzinfo=None) for value in expected["at"]
    ]
    for engine_name, engine in engines.items():
        columns, rows, told = found(engine, f"{tmp_path}/in.parquet")
        assert list(columns) == list(expected), engine_name
        assert rows == sorted(zip(*expected.values(), strict=True), key=repr), engine_name
        assert told == []


def test_orc_is_read_as_parquet_is(engines: dict[str, Engine], tmp_path: Path) -> None:
    one = pa.table(
        {
            "n": [1, None],
            "x": [0.5, 1.5],
            "s": ["a", "b"],
            "b": [True, None],
            "d": pa.array([0, 1], pa.date32()),
            "at": pa.array([0, 1_600_000_000_000_001], pa.timestamp("us")),
            "price": pa.array([D("1.10"), D("-0.07")]),
            "e": [[0.5, 1.5], [2.5, 3.5]],
            "u": [{"a": 1, "in": {"t": "x"}}, None],
            "tags": [["a"], []],
        }
    )
    other = pa.table({"x": [1, 2], "n": [5, 6], "new": ["c", "d"]})
    for name, table in (("k=1/a", one), ("k=2/b", other)):
        for form, write_table in (("orc", orc.write_table), ("parquet", pq.write_table)):
            path = tmp_path / form / f"{name}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_table(table, path)
    for engine_name, engine in engines.items():
        read = {form: found(engine, f"{tmp_path}/{form}", form) for form in ("orc", "parquet")}
        assert read["orc"] == read["parquet"], engine_name
        assert len(read["orc"][1]) == 4
        source = Input.model_validate({"uri": f"file://{tmp_path}/parquet", "format": "orc"})
        with pytest.raises(StageFailure, match="is a Parquet file; set") as caught:
            read_input(engine, source)
        assert caught.value.reason == "InputUnreadable"


UNREAD: dict[str, tuple[pa.Array, str]] = {
    "lists of several lengths": (pa.array([[1], [1, 2]]), "has lists of 1 to 2 numbers"),
    "lists without values": (pa.array([[], None], pa.list_(pa.int64())), "has lists without values"),
    "lists of texts": (pa.array([["a"], None]), "is of type list<element: string>"),
    "lists of structs": (pa.array([[{"a": 1}], None]), "is of type list<element: struct<a: int64>>"),
    "lists of lists": (pa.array([[[1.5]], None]), "is of type list<element: list<element: double>>"),
    "maps": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), "is of type map<"),
    "bytes": (pa.array([b"x", None]), "is of type binary"),
    "times of day": (pa.array([1, None], pa.time64("us")), "is of type time64[us]"),
    "a long list": (pa.array([[0.5] * 5000] * 2), "structs and lists become at most 4096 columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_a_column_that_nothing_can_hold_is_left_unread(
    name: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    values, why = UNREAD[name]
    pq.write_table(pa.table({"n": [1, 2], "v": values}), tmp_path / "in.parquet")
    source = Input.model_validate({"uri": f"file://{tmp_path}/in.parquet", "format": "parquet"})
    for engine_name, engine in engines.items():
        frame = read_input(engine, source)
        assert (dict(frame.columns), [*frame.unread]) == ({"n": "bigint"}, ["v"]), engine_name
        assert why in frame.unread["v"].why, engine_name
        assert sorted(engine.rows(f"SELECT n FROM {frame.view}")) == [(1,), (2,)]


def write(folder: Path, tables: Tables) -> None:
    for name, columns in tables.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
