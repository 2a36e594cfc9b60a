"""One Spark for all tests of a run: starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyspark.sql import SparkSession

from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.engines.java import ensure_java
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.engines.spark_session import start_spark

# Thousands of small queries, each compiled for itself: a Java that does not optimise them, and that
# collects garbage in one thread, takes four tenths less of the processor.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session on two cores, left active so that the engine uses it."""
    ensure_java()
    patch = pytest.MonkeyPatch()
    patch.setenv("TRAININGJOB_SPARK_MASTER", "local[2]")
    session = start_spark({"spark.driver.extraJavaOptions": _JAVA})
    yield session
    session.stop()
    patch.undo()


@pytest.fixture(scope="module")
def engines(spark: Any) -> Iterator[dict[str, Engine]]:
    with DuckdbEngine() as pandas_engine, SparkEngine({}) as spark_engine:
        # Compiling code for a handful of rows would take most of the time.
        spark_engine.session.conf.set("spark.sql.codegen.wholeStage", "false")
        spark_engine.session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        yield {
            "pandas": pandas_engine,
            "spark": spark_engine,
            # Large files are not inspected on the driver.
            "spark, a large file": spark_engine,
        }
