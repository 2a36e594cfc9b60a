"""Spark's session: its settings, its start, and its errors as ours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import SparkSession

from trainingjob.api.payload import SPARK_MASTER

from ...base import cpus
from ...base.errors import StageFailure
from ...base.text import one_line
from ...gang import blame
from ...storage import hadoop, kerberos, s3
from .. import parts
from . import archive

# Set on every session, whatever the user's settings: results depend on them.
_RESULTS = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "snappy",
    "spark.sql.parquet.binaryAsString": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # What a Python worker has of wide rows at a time.
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 * 2**20),
}
_PARTITIONS = "spark.sql.shuffle.partitions"
# Packed input grows several times in memory; so a partition stays below what one task can hold.
_PARTITION_BYTES = 32 * 2**20


def launch(conf: Mapping[str, str]) -> Future[SparkContext]:
    """Start Spark's Java process with the user's settings, in the background: it takes seconds,
    and Python has other things to do meanwhile. An active one is used as it is."""
    pool = ThreadPoolExecutor(1)
    context = pool.submit(SparkContext.getOrCreate, SparkConf().setAll(list(_settings(conf))))
    pool.shutdown(wait=False)
    return context


def start_spark(conf: Mapping[str, str]) -> SparkSession:
    """The session, started with the user's settings; an active one is used as it is."""
    builder = SparkSession.builder
    for key, value in _settings(conf):
        builder = builder.config(key, value)
    return builder.getOrCreate()


def own_session(conf: Mapping[str, str]) -> SparkSession:
    """A session besides the active one: views and settings of others do not mix with ours."""
    session = start_spark(conf).newSession()
    for key, value in {**_session_settings(conf), **_RESULTS}.items():
        session.conf.set(key, value)
    return session


def _settings(conf: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    master = os.environ.get(SPARK_MASTER, "local[*]")
    settings = {
        "spark.master": master,
        "spark.app.name": "trainingjob",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.catalogImplementation": "in-memory",
        archive.OPTIONS: " ".join([*archive.options(), *kerberos.java_options()]),
        **kerberos.spark_settings(),
        **_session_settings(conf),
    }
    if master.startswith("local"):
        settings["spark.driver.host"] = settings["spark.driver.bindAddress"] = "127.0.0.1"
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    yield from {**settings, **conf, **_RESULTS}.items()


def _session_settings(conf: Mapping[str, str]) -> dict[str, str]:
    given = {key: value for key, value in conf.items() if key.startswith("spark.sql.")}
    return {_PARTITIONS: str(partitions(conf)), **given}


def fit(session: SparkSession, conf: Mapping[str, str], size: int) -> None:
    """Set how many partitions a shuffle of ``size`` bytes of input has, unless the user does."""
    if _PARTITIONS not in conf:
        session.conf.set(_PARTITIONS, str(partitions(conf, size)))


def partitions(conf: Mapping[str, str], size: int = 0) -> int:
    """One a core, and more for large input. Spark's own 200 are 200 tasks a shuffle however small
    the input is, and too few where it is very large."""
    return max(_cores(conf), -(-size // _PARTITION_BYTES))


def _cores(conf: Mapping[str, str]) -> int:
    """Cores of this machine, or of all executors."""
    if os.environ.get(SPARK_MASTER, "local").startswith("local"):
        return cpus.available()
    executors = conf.get("spark.dynamicAllocation.maxExecutors") or conf.get(
        "spark.executor.instances", "1"
    )
    return int(executors) * int(conf.get("spark.executor.cores", "1"))


@contextmanager
def spark_failures() -> Iterator[None]:
    """Turn Spark's errors into StageFailures."""
    try:
        yield
    except PySparkException as error:
        raise _failure(error) from error
    except (Py4JError, ConnectionError) as error:
        if isinstance(error, Py4JJavaError):
            failure = _of_storage(str(error))
            raise failure or StageFailure("StepFailed", one_line(error)) from error
        raise StageFailure("ProcessKilled", "Spark's Java process has died") from error


@contextmanager
def starting() -> Iterator[None]:
    """A Spark that does not start is no fault of the input, and may start the next time."""
    try:
        yield
    except Py4JJavaError as error:
        if _of_storage(str(error)) is not None:
            raise
        why = one_line(error.java_exception.toString())
        raise StageFailure("StartFailed", f"Spark could not be started: {why}") from error


def _failure(error: PySparkException) -> StageFailure:
    condition = error.getCondition() or ""
    text = str(error)
    if condition == "JAVA_GATEWAY_EXITED":
        return StageFailure("ProcessKilled", "Spark's Java process died while it started")
    if (failure := parts.failure(text)) is not None:
        return failure
    if isinstance(error, PythonException):
        return StageFailure(*blame.of_exception(_last_line(text), ""))
    if (failure := _of_storage(text)) is not None:
        return failure
    if condition.startswith("UNRESOLVED_COLUMN"):
        return StageFailure("ColumnNotFound", one_line(error))
    if condition.startswith(
        ("PARSE_", "UNRESOLVED_", "DATATYPE_", "MISSING_", "INVALID_", "WRONG_")
    ):
        return StageFailure("ExpressionInvalid", one_line(error))
    if condition.startswith("FAILED_READ_FILE"):
        return StageFailure("InputUnreadable", one_line(error))
    if "java.lang.OutOfMemoryError" in text:
        return StageFailure("OutOfMemory", f"Spark ran out of memory: {one_line(error)}")
    if "No space left on device" in text:
        return StageFailure("DiskFull", "no space left on the disk for Spark's data")
    return StageFailure("StepFailed", one_line(error))


def _of_storage(text: str) -> StageFailure | None:
    return hadoop.failure_of_spark(text) or s3.failure_of_spark(text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next(
        (line for line in reversed(lines) if re.match(r"\w+(\.\w+)*(Error|Exception)?:", line)),
        lines[-1],
    )
