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

from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.input.read import read_input
from trainingjob.runtime.preprocess.notes import Notes

FRAME = pd.DataFrame({"x": [1.5, 2.5, 3.5], "n": [3, 4, 5]})
Write = Callable[[Path], None]


@pytest.fixture(scope="module")
def engines(spark: Any) -> Iterator[dict[str, Engine]]:
    with DuckdbEngine() as one, SparkEngine({}) as other:
        yield {"pandas": one, "spark": other}


def found(engine: Engine, path: str) -> tuple[dict[str, str], list[Any], list[str]]:
    """Columns, rows, and the reasons of the warnings."""
    notes = Notes()
    source = Input.model_validate({"uri": f"file://{path}", "format": "parquet"})
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


REFUSED: dict[str, tuple[Tables, str]] = {
    "a column more": ({"a": A, "b": {**A, "x": [1, 2]}}, "b.parquet has x besides, unlike"),
    "a column less": ({"a": A, "b": {"n": [1]}}, "b.parquet lacks s, unlike"),
    "text and numbers": ({"a": A, "b": {"n": ["1"], "s": ["a"]}}, "column n is a bigint in"),
    "booleans and numbers": ({"a": A, "b": {"n": [True], "s": ["a"]}}, "and a boolean in"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_differ_are_refused(
    name: str, engines: dict[str, Engine], tmp_path: Path
) -> None:
    tables, message = REFUSED[name]
    write(tmp_path, tables)
    for engine in engines.values():
        with pytest.raises(StageFailure) as caught:
            found(engine, f"{tmp_path}/*.parquet")
        assert caught.value.reason == "ColumnsDiffer"
        assert message in caught.value.message


def write(folder: Path, tables: Tables) -> None:
    for name, columns in tables.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
