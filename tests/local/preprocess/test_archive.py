"""Spark's driver takes its classes from the archive that set-up made, where Java can make one, and
does without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainingjob.runtime.preprocess.engines import archive

START = """
import sys
from pathlib import Path
from trainingjob.runtime.preprocess.engines import archive, java, spark_session
archive.path = lambda: Path(sys.argv[1])
java.ensure_java()
options = f"-Xlog:class+load:file={sys.argv[2]}"
session = spark_session.start_spark({"spark.driver.extraJavaOptions": options})
print(session.range(7).count())
session.stop()
"""
CLASS = "org.apache.spark.sql.classic.SparkSession "


@pytest.mark.parametrize("kind", ["made", "junk", "none"])
def test_spark_starts(kind: str, tmp_path: Path) -> None:
    path = archive.path() if kind == "made" else tmp_path / "spark.jsa"
    if kind == "junk":
        path.write_bytes(b"junk" * 5000)
    log = tmp_path / "classes"
    done = subprocess.run(
        [sys.executable, "-c", START, str(path), str(log)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["7"], done.stderr
    (line,) = (line for line in log.read_text().splitlines() if CLASS in line)
    assert ("shared objects file" in line) == (kind == "made" and path.exists()), line
