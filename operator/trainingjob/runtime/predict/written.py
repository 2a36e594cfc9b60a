"""``predictions.json``, with ``predictions-00000-9f3c….parquet`` and so on beside it: rows in the
order of the input. The manifest is written last, so that with it they are complete; other files in
the folder are nobody's business."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from trainingjob.api.base import Model

from ..base.digest import digest_of, sha256
from ..storage import Place

MANIFEST = "predictions.json"
# Of a row group, and of a file: as they are in memory.
_GROUP_ROWS, _GROUP_BYTES = 2**17, 64 * 2**20
_FILE_BYTES = 2**30
_OURS = re.compile(r"predictions-[0-9]{5,}-[0-9a-f]{16}\.parquet|\.trainingjob-[0-9a-f]{32}")


def is_ours(name: str) -> bool:
    """Whether a file is of this run or of one before, whole or in part."""
    return _OURS.fullmatch(name) is not None


class PredictedFile(Model):
    """A parquet file of predictions."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Predictions(Model):
    """``predictions.json``."""

    version: Literal[1] = 1
    model_uri: str = Field(description="The accepted model's folder.")
    model_digest: str
    variant: str | None = Field(None, description="The form of it that has predicted.")
    input: str = Field(description="URI of the rows.")
    rows: int
    unpredicted: int = Field(description="Those of them that have no prediction.")
    columns: dict[str, str] = Field(description="Every column and its Arrow type, in order.")
    files: list[PredictedFile] = Field(description="In the order of the rows.")
    stamp: str = Field(description="In the names of the files.")
    writer: str = Field(description="The run of a job that has written it.")

    @property
    def digest(self) -> str:
        """sha256 of the manifest, which holds the sha256 of every file, but for what differs
        between two writings of the same."""
        told = self.to_dict()
        for name in ("stamp", "writer"):
            told.pop(name)
        told["files"] = [{**file, "name": ""} for file in told["files"]]
        return digest_of(told)


class Parts:
    """Tables to files of bounded size, each of which is put in its place once it is whole."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.files: list[PredictedFile] = []
        self.schema: pa.Schema | None = None
        self._waiting: list[pa.Table] = []
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._path = Path()
        self._bytes = 0

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, table: pa.Table) -> None:
        """Raises OSError, StageFailure."""
        self._waiting.append(table)
        rows = sum(one.num_rows for one in self._waiting)
        if rows >= _GROUP_ROWS or sum(one.nbytes for one in self._waiting) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """The last file, too. Raises OSError, StageFailure."""
        self._flush()
        self._put()

    def _flush(self) -> None:
        if not self._waiting:
            return
        group = pa.concat_tables(self._waiting)
        self._waiting = []
        if self._writer is None:
            self.schema = group.schema
            self._path = self._stack.enter_context(self._place.aside())
            self._writer = pq.ParquetWriter(self._path, group.schema)
            self._stack.callback(self._writer.close)
        self._writer.write_table(group, row_group_size=group.num_rows)
        self._bytes += group.nbytes
        if self._bytes >= _FILE_BYTES:
            self._put()

    def _put(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        digest, rows = sha256(self._path), pq.read_metadata(self._path).num_rows
        size = self._path.stat().st_size
        stamp = f"{self._place.stamp}{digest.removeprefix('sha256:')[:8]}"
        name = f"predictions-{len(self.files):05}-{stamp}.parquet"
        self._place.put(self._path, name)
        self.files.append(PredictedFile(name=name, rows=rows, bytes=size, sha256=digest))
        self._stack.close()
        self._writer, self._bytes = None, 0
