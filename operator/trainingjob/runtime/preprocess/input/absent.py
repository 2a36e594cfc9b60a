"""Columns that some files have and others lack: null in the rows of these, and of splits that
somebody has made no columns."""

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
    for file in others if are_splits(source) else ():
        if {*columns[file]} != {*columns[first]}:
            raise columns_differ(file, columns[file], first, columns[first])
    sets = {file: frozenset(found) for file, found in columns.items()}
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(name for found in columns.values() for name in found):
        files = tuple(file.name for file, found in sets.items() if name not in found)
        if files:
            lacking.setdefault(files, []).append(name)
    for files, absent in lacking.items():
        warn(source, absent, f"not in {listed(files)}: null in their rows", notes)


def are_splits(source: Source) -> bool:
    """Whether files say which split their rows are in."""
    return OF_FILE in source.keys


def warn(source: Source, names: Sequence[str], where: str, notes: Notes) -> None:
    """Warn of columns that are ``where`` they are."""
    verb = "is" if len(names) == 1 else "are"
    notes.warn("ColumnAbsent", f"{source.uri}: {listed(names)} {verb} {where}")
