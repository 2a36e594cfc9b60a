"""Columns that some files have and others lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...base.text import listed
from ..given import OF_FILE
from ..notes import Notes
from .files import Source, columns_differ


def tell_absent(source: Source, columns: Mapping[Path, Sequence[str]], notes: Notes) -> None:
    """Warn of columns that some of the files lack: their rows have nulls there.

    Raises StageFailure(ColumnsDiffer) where the files are splits that somebody has made."""
    first, *others = columns
    for file in others if OF_FILE in source.keys else ():
        if {*columns[file]} != {*columns[first]}:
            raise columns_differ(file, columns[file], first, columns[first])
    sets = {file: frozenset(found) for file, found in columns.items()}
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(name for found in columns.values() for name in found):
        files = tuple(file.name for file, found in sets.items() if name not in found)
        if files:
            lacking.setdefault(files, []).append(name)
    for files, absent in lacking.items():
        notes.warn(
            "ColumnAbsent",
            f"{source.uri}: {listed(absent)} {'is' if len(absent) == 1 else 'are'} not in "
            f"{listed(files)}: null in their rows",
        )
