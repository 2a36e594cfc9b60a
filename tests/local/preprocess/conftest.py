"""One Spark for all tests of a run: starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from trainingjob.runtime.preprocess.engines.java import ensure_java
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
