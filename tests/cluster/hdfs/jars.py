"""The jars that PySpark's wheel lacks, fetched once by Maven, and compared with their digests: the
server's into .cache/hdfs, or those of another folder with a pom.xml and a jars.sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..build import ROOT, BuildError, scrub

HERE = Path(__file__).parent
JARS = ROOT / ".cache/hdfs"


def fetch(here: Path = HERE, jars: Path = JARS) -> None:
    """Have in ``jars`` what ``here`` names. Raises BuildError."""
    pins = (here / "jars.sha256").read_text().splitlines()
    maven = _maven()
    jars.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars, prefix=".new-") as folder:
        command = [maven, "-B", "-q", "-f", str(here / "pom.xml"), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={folder}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["mvn failed"]
            raise BuildError(scrub(told[0]))
        for digest, name in map(str.split, pins):
            path = Path(folder) / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise BuildError(f"{name} is not the one of jars.sha256")
            path.replace(jars / name)


def _maven() -> str:
    """The machine's; root installs Debian's."""
    found = shutil.which("mvn")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--no-install-recommends", "maven"]):
            subprocess.run(["apt-get", "-qq", "-y", *command], check=False, capture_output=True)
        found = shutil.which("mvn")
    if found is None:
        raise BuildError("there is no mvn: install Maven (in Debian: apt-get install maven)")
    return found


def main() -> int:
    try:
        fetch(*(Path(argument).absolute() for argument in sys.argv[1:]))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
