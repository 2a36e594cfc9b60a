"""One Spark for all tests of a run: starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from trainingjob.runtime.preprocess.engines.java import ensure_java
from trainingjob.runtime.preprocess.engines.spark_session import start_spark


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session on two cores, left active so that the engine uses it."""
    ensure_java()
    patch = pytest.MonkeyPatch()
    patch.setenv("TRAININGJOB_SPARK_MASTER", "local[2]")
    session = start_spark({})
    yield session
    session.stop()
    patch.undo()
