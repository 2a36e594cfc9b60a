"""The jars that PySpark's wheel lacks, fetched once and compared with their digests: the server's
into .cache/hdfs, or those of another folder with a pom.xml and a jars.sha256."""

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


def fetch(here: Path = HERE, jars: Path = JARS) -> None:
    """Have in ``jars`` what ``here`` names. Raises BuildError."""
    pins = (here / "jars.sha256").read_text().splitlines()
    jars.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars, prefix=".new-") as folder:
        command = resolver.command(here / "pom.xml", Path(folder))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = f"{done.stdout}\n{done.stderr}".splitlines()
            told = [line for line in lines if "ERROR" in line] or ["the jars cannot be fetched"]
            raise BuildError(scrub(told[0]))
        for digest, name in map(str.split, pins):
            path = Path(folder) / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise BuildError(f"{name} is not the one of jars.sha256")
            path.replace(jars / name)


def main() -> int:
    try:
        fetch(*(Path(argument).absolute() for argument in sys.argv[1:]))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
