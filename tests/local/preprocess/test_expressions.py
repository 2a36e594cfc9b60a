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
from trainingjob.api.v1alpha1.preprocess import Input
from trainingjob.runtime.errors import StageFailure
from trainingjob.runtime.preprocess.dialect import SPARK
from trainingjob.runtime.preprocess.engine_pandas import PandasEngine
from trainingjob.runtime.preprocess.engine_spark import SparkEngine
from trainingjob.runtime.preprocess.expressions import compile_expression
from trainingjob.runtime.preprocess.frame import Engine, Frame
from trainingjob.runtime.preprocess.read import read_input

from .both import assert_same_table

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
    with PandasEngine() as pandas_engine, SparkEngine({}) as spark_engine:
        frame = read_input(spark_engine, source)
        one = evaluate(pandas_engine, read_input(pandas_engine, source), compiled)
        other = evaluate(spark_engine, frame, compiled)
        oracle = evaluate(spark_engine, frame, as_it_stands)
    wrong = []
    for index, expression in enumerate(EXPRESSIONS):
        name = f"e{index}"
        assert_same_table(one.select([name]), other.select([name]), expression)
        if name not in oracle.column_names:
            assert expression in REFUSED_BY_SPARK, expression
            continue
        same = repr(one[name].to_pylist()) == repr(oracle[name].to_pylist())
        if same == (expression in DIFFERENT):
            found = zip(one[name].to_pylist(), oracle[name].to_pylist(), strict=True)
            wrong.append(
                (expression, [pair for pair in found if repr(pair[0]) != repr(pair[1])][:3])
            )
    assert not wrong


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
    view = engine.view(f"SELECT n, {', '.join(columns)} FROM {frame.view}")
    if isinstance(engine, SparkEngine):
        return engine.session.table(view).orderBy("n").toArrow()
    assert isinstance(engine, PandasEngine)
    table = engine._arrow(view).sort_by("n")
    utc = pa.timestamp("us", tz="UTC")
    schema = [f.with_type(utc) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(schema))
