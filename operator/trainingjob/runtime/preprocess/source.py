"""The input: which files, how they are written, and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import io
import itertools
import json
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.preprocess import CsvOptions, Input

from .. import s3, storage
from ..errors import StageFailure
from .names import one_line

# Packed formats that people bring and that only one of the engines could read, or none.
_UNKNOWN_PACKING = (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")

# Records that the first guess of the types comes from.
_SAMPLE_RECORDS = 1000

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Source:
    """Files that hold the input, in the order of their names."""

    uri: str
    files: list[Path]

    @property
    def paths(self) -> list[str]:
        """The same as text."""
        return [str(file) for file in self.files]

    @property
    def size(self) -> int:
        """Bytes, as they lie on the disk."""
        return sum(file.stat().st_size for file in self.files)


def find(source: Input) -> Source:
    """The files of ``source``; raises StageFailure(InputNotFound, InputUnreadable)."""
    path = storage.fetch(source.uri)
    if path.exists():
        found = [path] if path.is_file() else sorted(_files_below(path))
    else:
        matches = sorted(Path(match) for match in glob.glob(str(path)))  # noqa: PTH207
        found = [
            file
            for match in matches
            for file in ([match] if match.is_file() else sorted(_files_below(match)))
        ]
    if not found:
        what = f"{path} is an empty folder" if path.is_dir() else f"there is no file at {path}"
        if s3.is_copy(path):
            what = "there is no such object"
        raise StageFailure("InputNotFound", f"{source.uri}: {what}")
    for file in found:
        if file.suffix.lower() in _UNKNOWN_PACKING:
            raise StageFailure("InputUnreadable", f"{file}: only .gz is unpacked")
        if path.is_dir() and any("=" in part for part in file.parent.relative_to(path).parts):
            raise StageFailure(
                "InputUnreadable",
                f"{file}: folders named KEY=VALUE (a partitioned table) are not supported; "
                "name one of them with a glob, or write the table without partitions",
            )
        with readable(file):
            os.close(os.open(file, os.O_RDONLY))
    if not any(file.stat().st_size for file in found):
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    return Source(source.uri, [file for file in found if file.stat().st_size])


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder tree, without those that Hadoop and editors hide."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(root) / name for name in names if not name.startswith((".", "_")))


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn errors of reading ``file`` into StageFailures."""
    try:
        yield
    except UnicodeDecodeError:
        _check_utf8(file)
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StageFailure(
            "InputUnreadable", f"{file} is not a whole gzip file: {error}"
        ) from error
    except OSError as error:
        raise StageFailure("InputUnreadable", f"cannot read {file}: {error.strerror}") from error


def open_bytes(file: Path) -> IO[bytes]:
    """A file for reading, unpacked."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def csv_header(source: Source, options: CsvOptions) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, the same in every file, and the first records of the first file.

    Raises StageFailure(InputEmpty, InputMalformed, InputNotUtf8)."""
    names: list[str] | None = None
    sample: list[list[str]] = []
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
        if names is None:
            names, sample = found, [record for record in others if len(record) == len(found)]
        elif names != found:
            raise StageFailure(
                "InputMalformed",
                f"{file} has other columns than {source.files[0]}: {', '.join(found)[:200]}",
            )
    if names is None:
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    return names, sample


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
        _check_utf8(file)
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


def check_json(source: Source) -> None:
    """The same for JSON: raises StageFailure for the first line that is not an object."""
    for file in source.files:
        _check_utf8(file)
        with readable(file), open_bytes(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
                except ValueError as error:
                    message = f"{file}, line {number}: {error}"
                    raise StageFailure("InputMalformed", message) from error
                if not isinstance(value, dict):
                    raise StageFailure("InputMalformed", f"{file}, line {number}: not an object")


def refuse_byte_order_marks(source: Source) -> None:
    """Raises StageFailure(InputMalformed): a JSON text must not begin with one, and DuckDB reads
    none that does."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                message = f"{file}, line 1: a byte order mark; write the file without one"
                raise StageFailure("InputMalformed", message)


def first_json_keys(source: Source) -> list[str]:
    """The keys of the first object."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            for line in stream:
                if line.strip():
                    try:
                        return list(json.loads(line))
                    except ValueError as error:
                        message = f"{file}, line 1: {error}"
                        raise StageFailure("InputMalformed", message) from error
    return []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parquet_schema(source: Source) -> pa.Schema:
    """The schema, the same in every file.

    Raises StageFailure(InputUnreadable, InputMalformed, InputEmpty)."""
    schema, rows = None, 0
    for file in source.files:
        try:
            with readable(file):
                footer = pq.read_metadata(file)
                found = footer.schema.to_arrow_schema().remove_metadata()
        except (pa.ArrowException, ValueError) as error:
            message = f"{file} is not a parquet file: {one_line(error)}"
            raise StageFailure("InputUnreadable", message) from error
        rows += footer.num_rows
        if schema is None:
            schema = found
        elif {field.name: field.type for field in schema} != {f.name: f.type for f in found}:
            message = f"{file} has other columns, or of other types, than {source.files[0]}"
            raise StageFailure("InputMalformed", message)
    if schema is None or not rows:
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    return schema


def _records(text: IO[str], options: CsvOptions) -> Any:
    return csv.reader(text, delimiter=options.delimiter, quotechar=options.quote, strict=True)


def _check_utf8(file: Path) -> None:
    with readable(file), open_bytes(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                message = f"{file}, line {number}: not UTF-8"
                raise StageFailure("InputNotUtf8", message) from error
