"""CSV files, looked at line by line: their heads, and the first line that is wrong."""

from __future__ import annotations

import csv
import io
import itertools
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trainingjob.api.v1alpha1.input import CsvOptions

from ...base.errors import StageFailure
from .files import Source, check_utf8, columns_differ, open_bytes, readable

# Records that the first guess of the types comes from.
_SAMPLE_RECORDS = 1000

# How far to look for the line of a value.
_SEARCHED_LINES = 200_000

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class CsvHeads:
    """Names of the columns of each file, the same ones in some order; those of the first file give
    theirs. ``unnamed``: those that have none there. ``sample``: the first file's first records."""

    names: list[str]
    of_file: Mapping[Path, tuple[str, ...]]
    unnamed: list[str]
    sample: list[list[str]]


def csv_heads(source: Source, options: CsvOptions) -> CsvHeads:
    """The names of the columns.

    Raises StageFailure(InputEmpty, InputMalformed, InputNotUtf8, ColumnsDiffer)."""
    names: list[str] | None = None
    unnamed: list[str] = []
    sample: list[list[str]] = []
    of_file: dict[Path, tuple[str, ...]] = {}
    for file in source.files:
        first, others = _head(file, options, _SAMPLE_RECORDS if names is None else 0)
        if first is None:
            continue
        found = (
            [name.strip() or f"c{index}" for index, name in enumerate(first)]
            if options.header
            else [f"c{index}" for index in range(len(first))]
        )
        if any("\n" in name or "\r" in name for name in found):
            raise StageFailure(
                "InputMalformed", f"{file}, line 1: a column's name has a line break"
            )
        of_file[file] = tuple(found)
        if names is None:
            names, sample = found, [record for record in others if len(record) == len(found)]
            if options.header:
                unnamed = [
                    name for name, text in zip(found, first, strict=True) if not text.strip()
                ]
        elif sorted(names) != sorted(found):
            raise columns_differ(file, found, next(iter(of_file)), names)
    if names is None:
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    return CsvHeads(names, of_file, unnamed, sample)


def _head(file: Path, options: CsvOptions, count: int) -> tuple[list[str] | None, list[list[str]]]:
    """The first record of a file, if there is any, and up to so many that follow."""
    with readable(file), open_bytes(file) as stream:
        records = _records(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), options)
        try:
            begin = next(records, None)
            first = begin or next((record for record in records if record), None)
        except csv.Error as error:
            raise StageFailure("InputMalformed", f"{file}, line 1: {error}") from error
        if options.header and first and not begin:
            message = f"{file}, line 1: blank, where the names of the columns should be"
            raise StageFailure("InputMalformed", message)
        others: list[list[str]] = []
        with suppress(csv.Error):  # an engine that comes to this record says so
            others += itertools.islice(records, count)
    return first, others


def check_csv(source: Source, options: CsvOptions, width: int) -> bool:
    """Read every file line by line and raise StageFailure(InputNotUtf8, InputMalformed) for the
    first that is wrong; returns whether a field has a line break.

    Slow: only for when an engine has found that something may be wrong."""
    line_breaks = False
    for file in source.files:
        check_utf8(file)
        with readable(file), open_bytes(file) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            reader = _records(text, options)
            line = 1
            try:
                for row in reader:
                    # Engines cut off empty fields at the end.
                    if row and (len(row) < width or any(row[width:])):
                        raise StageFailure(
                            "InputMalformed",
                            f"{file}, line {line}: {len(row)} fields instead of {width}",
                        )
                    line_breaks |= reader.line_num > line
                    line = reader.line_num + 1
            except csv.Error as error:
                raise StageFailure("InputMalformed", f"{file}, line {line}: {error}") from error
    return line_breaks


def line_of(source: Source, options: CsvOptions, column: str, value: str) -> str:
    """``in.csv, line 9``: where a field of a column first has this text, blanks around it cut;
    "" when that is not among the first lines. The column is named as in the first file."""
    for file in source.files:
        lines = 0
        with suppress(csv.Error, StageFailure), readable(file), open_bytes(file) as stream:
            reader = _records(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), options)
            place, line = -1, 1
            for row in reader:
                if place < 0 and row:
                    names = [name.strip() or f"c{i}" for i, name in enumerate(row)]
                    names = names if options.header else [f"c{i}" for i in range(len(row))]
                    place = names.index(column) if column in names else len(row)
                    if options.header:
                        line = reader.line_num + 1
                        continue
                if len(row) > place and row[place].strip(" ") == value:
                    return f"{file.name}, line {line}"
                line, lines = reader.line_num + 1, lines + 1
                if lines > _SEARCHED_LINES:
                    return ""
    return ""


def _records(text: IO[str], options: CsvOptions) -> Any:
    return csv.reader(text, delimiter=options.delimiter, quotechar=options.quote, strict=True)
