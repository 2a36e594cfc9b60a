"""`trainingjob predict`: ``python -m trainingjob.runtime.predict.command``.

Reads a ``Request`` as JSON from standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pydantic import Field

from trainingjob.api.base import Model
from trainingjob.api.payload import ServePayload
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.reasons import remedy_of_accepted

from ..base.errors import StageFailure, from_os_error
from ..base.text import listed
from ..serve.served import load
from .rows import opened


class Request(Model):
    """``input``: the file, and how it is written; ``output``: a file of CSV or, by its name, of
    Parquet, standard output when unset; ``keep``: columns of the file that it has, too."""

    model: ServePayload
    input: Input
    output: str | None = None
    keep: list[str] = Field(default_factory=list)


def main() -> int:
    """The process's exit code."""
    request = Request.model_validate_json(sys.stdin.read())
    try:
        rows = predict(request)
    except StageFailure as failure:
        sys.stderr.write(f"{failure.message}; {remedy_of_accepted(failure.reason)}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{from_os_error(error, 'write the predictions').message}\n")
        return 1
    if request.output is not None:
        sys.stderr.write(f"{rows} rows: {request.output}\n")
    return 0


def predict(request: Request) -> int:
    """Write the predictions; of how many rows they are.

    Raises StageFailure: those of loading a model, and of ``rows.opened`` and its tables."""
    with closing(load(request.model)) as served:
        served.prove()
        with opened(served, request.input, request.keep) as rows, _sink(request.output) as sink:
            if rows.unused:
                sys.stderr.write(
                    f"not used, as the model has not seen them: {listed(rows.unused)}\n"
                )
            for table in rows.tables():
                sink.write(table)
            return rows.predicted


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...


class _File:
    """A file of either format, which is opened when the first rows come."""

    def __init__(self, target: Any, parquet: bool) -> None:
        self._target, self._parquet = target, parquet
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            make = pq.ParquetWriter if self._parquet else pc.CSVWriter
            self._writer = make(self._target, table.schema)
        self._writer.write(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextmanager
def _sink(output: str | None) -> Iterator[_Sink]:
    """Where the predictions go; a file is there when it is whole."""
    if output is None:
        sink = _File(sys.stdout.buffer, parquet=False)
        yield sink
        sink.close()
        return
    target = Path(output)
    aside = target.with_name(f".{target.name}.writing")
    try:
        sink = _File(str(aside), target.suffix.lower() == ".parquet")
        yield sink
        sink.close()
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
