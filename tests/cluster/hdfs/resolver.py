"""How the jars that a pom.xml names come here: by the machine's Maven, whose settings count, else
by Ivy, which PySpark brings and which needs Java alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyspark

from trainingjob.runtime.preprocess.engines.java import ensure_java


def command(pom: Path, folder: Path) -> list[str]:
    """What to run, to have them in ``folder`` by the names that Maven gives them."""
    maven = shutil.which("mvn")
    if maven is not None:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        return [maven, "-B", "-q", "-f", str(pom), *goal]
    ensure_java()
    home = os.environ.get("JAVA_HOME")
    (ivy,) = (Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar")
    return [
        f"{home}/bin/java" if home else "java",
        *("-cp", str(ivy), "org.apache.ivy.Main", "-error"),
        *("-ivy", str(pom), "-confs", "default", "-types", "jar", "bundle"),
        *("-cache", str(folder / "ivy")),
        *("-retrieve", f"{folder}/[artifact]-[revision](-[classifier]).[ext]"),
    ]
