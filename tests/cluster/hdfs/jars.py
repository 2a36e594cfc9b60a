"""The jar that PySpark's wheel lacks, fetched once into .cache/hdfs, and compared with
its digest in jars.sha256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from ..build import ROOT, BuildError, scrub
from . import resolver

HERE = Path(__file__).parent
JARS = ROOT / ".cache/hdfs"


def fetch() -> None:
    """Raises BuildError."""
    pins = (HERE / "jars.sha256").read_text().splitlines()
    JARS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS, prefix=".new-") as folder:
        command = resolver.command(HERE / "pom.xml", Path(folder))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = f"{done.stdout}\n{done.stderr}".splitlines()
            told = [line for line in lines if "ERROR" in line] or ["the jars cannot be fetched"]
            raise BuildError(scrub(told[0]))
        for digest, name in map(str.split, pins):
            path = Path(folder) / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise BuildError(f"{name} is not the one of jars.sha256")
            path.replace(JARS / name)


def main() -> int:
    try:
        fetch()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
