"""Every expression of the table means the same in both engines and to Spark itself.

The oracle is ``spark.sql`` of the text as it stands, in a session as the product sets it: ANSI mode
off, so that a text that is no number is null and not an error. Where the product means to differ, the
expression is in ``DIFFERENT`` of tests/spark_sql.py with the reason, which docs/sql.md tells users.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.spark_sql import DIFFERENT, EXPRESSIONS, REFUSED_BY_SPARK, write_values
from trainingjob.api.v1alpha1.input import Input
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine, Frame
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.expressions.compiler import compile_expression
from trainingjob.runtime.preprocess.expressions.spark_dialect import SPARK
from trainingjob.runtime.preprocess.input.read import read_input

from .both import equal

# Columns of one query: Spark's compiler does not like many.
_AT_ONCE = 40
# What a dataset holds of what Spark may give.
_HELD = {
    "double": SPARK.finite("{0}"),
    "date": "CASE WHEN {0} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {0} END",
    "timestamp": "CASE WHEN year({0}) BETWEEN 1 AND 9999 THEN {0} END",
}


def test_both_engines_and_spark_itself_give_the_same_for_every_expression_of_the_table(
    spark: Any, tmp_path: Path
) -> None:
    write_values(tmp_path / "values.parquet")
    source = Input(uri=f"file://{tmp_path}/values.parquet", format="parquet")
    with DuckdbEngine() as pandas_engine, SparkEngine({}) as spark_engine:
        frame = read_input(spark_engine, source)
        one = evaluate(pandas_engine, read_input(pandas_engine, source), compiled)
        other = evaluate(spark_engine, frame, compiled)
        oracle = evaluate(spark_engine, frame, as_it_stands)
    wrong = []
    for index, expression in enumerate(EXPRESSIONS):
        name = f"e{index}"
        ours = one[name].to_pylist()
        if one.schema.field(name).type != other.schema.field(name).type:
            wrong.append((expression, "types of engines"))
        if different := _different(ours, other[name].to_pylist()):
            wrong.append((expression, "pandas, spark", different))
        if (name in oracle.column_names) == (expression in REFUSED_BY_SPARK):
            wrong.append((expression, "refused by Spark, or not any more"))
        elif name in oracle.column_names:
            different = _different(ours, oracle[name].to_pylist())
            if bool(different) != (expression in DIFFERENT):
                wrong.append((expression, "ours, Spark's", different))
    assert not wrong, "\n".join(map(str, wrong))


def _different(one: list[Any], other: list[Any]) -> list[Any]:
    return [pair for pair in zip(one, other, strict=True) if not equal(*pair, least=1e-300)][:3]


def compiled(text: str, engine: Engine, frame: Frame) -> str:
    """Our SQL."""
    return compile_expression(text, frame.columns, engine.dialect, "test").sql


def as_it_stands(text: str, engine: Engine, frame: Frame) -> str | None:
    """The user's own text, brought to what a dataset holds; None where Spark refuses it."""
    try:
        view = engine.view(f"SELECT ({text}) AS value FROM {frame.view}")
    except StageFailure:
        return None
    ((_, kind),) = engine.columns_of(view)
    assert kind is not None
    return _HELD.get(kind, "{0}").format(f"CAST(({text}) AS {SPARK.type_name(kind)})")


def evaluate(
    engine: Engine, frame: Frame, sql_of: Callable[[str, Engine, Frame], str | None]
) -> pa.Table:
    """Every expression as a column e0, e1, … in the order of n."""
    found = {f"e{index}": sql_of(text, engine, frame) for index, text in enumerate(EXPRESSIONS)}
    columns = [f"{sql} AS {name}" for name, sql in found.items() if sql is not None]
    tables = []
    for start in range(0, len(columns), _AT_ONCE):
        some = ", ".join(columns[start : start + _AT_ONCE])
        view = engine.view(f"SELECT n, {some} FROM {frame.view}")
        table = (
            engine.session.table(view).orderBy("n").toArrow()
            if isinstance(engine, SparkEngine)
            else _in_utc(engine.arrow(f"SELECT * FROM {view}").sort_by("n"))
        )
        tables.append(table.drop_columns("n"))
    return pa.table(
        {name: table[name] for table in tables for name in table.column_names},
    )


def _in_utc(table: pa.Table) -> pa.Table:
    utc = pa.timestamp("us", tz="UTC")
    schema = [f.with_type(utc) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(schema))
