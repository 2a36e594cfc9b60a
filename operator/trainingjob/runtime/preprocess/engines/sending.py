"""Folders that the Python of Spark's executors imports from, as the driver's does."""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from ...base.errors import StageFailure, storage_errors
from ...base.text import size_in_words

# Of files, before they are packed: each executor fetches all from the driver.
MOST_BYTES = 4 * 2**30


def send(session: SparkSession, folder: Path, aside: Path, places: Sequence[str] = (".",)) -> None:
    """Let functions import from ``places`` in the ``folder``, the first one first and before what
    was sent before, whichever executor they run on, those that start later included. ``aside``:
    another folder, which stays as long as the session, for the archive.

    Unlike with addPyFile, an archive is unpacked: data beside modules is read by its path, and
    modules may be native. Raises StageFailure(ScriptInvalid), and what ``storage_errors`` does."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if (size := sum(path.stat().st_size for path in files)) > MOST_BYTES:
        raise StageFailure(
            "ScriptInvalid",
            f"code or packages of {size_in_words(size)} are more than executors are sent, "
            f"{size_in_words(MOST_BYTES)}: put them into an image of preprocess",
        )
    # A name of which the session has no other.
    archive = aside / f"{uuid.uuid4().hex}.zip"
    with storage_errors("pack the code"), zipfile.ZipFile(archive, "w") as packed:
        for path in files:
            packed.write(path, path.relative_to(folder))
    context = session.sparkContext
    context.addArchive(str(archive))
    # Where it is unpacked, which addPyFile would tell of a file.
    includes = [os.path.normpath(f"{archive.name}/{place}") for place in places]
    # Each is put before those that it has.
    context._python_includes.extend(reversed(includes))  # type: ignore[union-attr]
