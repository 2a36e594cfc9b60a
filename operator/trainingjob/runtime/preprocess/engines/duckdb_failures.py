"""DuckDB's errors as ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from trainingjob.api.v1alpha1.reasons import ReasonName

from ...base.errors import StageFailure
from ...base.text import one_line

# An error of a thread that writes, in which DuckDB tells it.
_WRAPPED = re.compile(r'"exception_message":("(?:[^"\\]|\\.)*")')
# Each error by the name that DuckDB gives its kind: "Out of Memory Error: …". What fails while rows
# come is told by Arrow, which has these words and no exception of DuckDB's.
_KINDS: dict[str, type[duckdb.Error]] = {
    "Out of Memory": duckdb.OutOfMemoryException,
    "IO": duckdb.IOException,
    "Binder": duckdb.BinderException,
    "Catalog": duckdb.CatalogException,
}
# What is wrong with a file, in words that say what to do.
_OF_FILES: list[tuple[re.Pattern[str], ReasonName, str]] = [
    (
        re.compile(r'string encoding found in Parquet file "(.+?)": value "(.*)" is not valid'),
        "InputNotUtf8",
        'a text of {} is not UTF-8: "{:.60}"',
    ),
    (
        re.compile(r"ORC timestamp \((-?\d+)s \+ \d+ns\) is out of range"),
        "InputUnreadable",
        "a time of ORC is {} s from 1970: engine pandas reads those from 1678 to 2261; set engine "
        "to spark, or write Parquet",
    ),
    (
        re.compile(r"(File is encrypted) but no file crypto metadata"),
        "InputUnreadable",
        "a file of Parquet is encrypted: write it without encryption, as nothing here has its keys",
    ),
    (
        re.compile(r'"maximum_object_size" of (\d+) bytes exceeded while reading file "(.+?)"'),
        "InputMalformed",
        "an object of {1} is longer than {0} bytes, which are the most: divide long texts",
    ),
]
_KIND = re.compile(r"\b(\w[\w ]*) Error: ")


@contextmanager
def failures() -> Iterator[None]:
    """Turn DuckDB's errors into StageFailures."""
    try:
        yield
    except duckdb.Error as error:
        raise _failure(type(error), str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        found = _KIND.search(str(error))
        kind = _KINDS.get(found[1], duckdb.Error) if found else duckdb.Error
        raise _failure(kind, str(error)) from error


def _failure(kind: type[BaseException], text: str) -> StageFailure:
    if issubclass(kind, duckdb.OutOfMemoryException):
        return StageFailure("OutOfMemory", f"engine pandas ran out of memory: {one_line(text)}")
    if issubclass(kind, duckdb.IOException):
        wrapped = _WRAPPED.search(text)
        words = json.loads(wrapped[1], strict=False) if wrapped else text
        reason: ReasonName = "DiskFull" if "No space left" in text else "StorageFailed"
        return StageFailure(reason, one_line(words))
    if issubclass(kind, duckdb.BinderException | duckdb.CatalogException):
        return StageFailure("ExpressionInvalid", one_line(text))
    for pattern, reason, words in _OF_FILES:
        if found := pattern.search(text):
            return StageFailure(reason, words.format(*found.groups()))
    return StageFailure("StepFailed", one_line(text))
