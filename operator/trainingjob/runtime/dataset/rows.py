"""The rows of a split, in batches of bounded size: how training and evaluation read a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.errors import StageFailure, from_os_error
from ..base.text import one_line
from ..storage import RemoteFile, ahead, shown, source
from .columns import NUMBERS, BadColumn, Encoding, numbers
from .labels import Classes
from .manifest import DataFile, DatasetManifest, SplitName
from .seal import Seal

# Rows and numbers in a batch: enough that calls cost nothing beside the work, few enough that the
# activations of a wide network stay small.
_BATCH_ROWS = 8192
_BATCH_NUMBERS = 2**20
# Column chunks are read in pieces, since Spark's row groups have 128 MiB: of each column so much,
# and no more than this of all.
_READ_BYTES = 2**20
_READ_BYTES_OF_ALL = 2**26
_LEAST_READ_BYTES = 2**13
# A remote row group is held in memory, packed, if it has no more than this.
_HELD_BYTES = 2**28
_FOOTERS_AT_ONCE = 8


@dataclass(frozen=True)
class RowGroup:
    """What a file of ``size`` bytes is read by; ``index`` within the file."""

    path: Path
    size: int
    index: int
    rows: int


@dataclass(frozen=True)
class Rows:
    """A split of the dataset in ``folder``; ``features`` are those of the task, ``seal`` what it is
    encrypted by, if it is."""

    folder: Path
    manifest: DatasetManifest
    split: SplitName
    features: Sequence[str]
    seal: Seal | None = None

    @property
    def count(self) -> int:
        """Rows of the split."""
        info = self.manifest.splits.get(self.split)
        return info.rows if info else 0

    @cached_property
    def classes(self) -> Classes | None:
        """The classes; None for regression."""
        values = self.manifest.classes
        if self.manifest.task == "regression":
            return None
        if not values:
            raise StageFailure(
                "DatasetInvalid", f"{shown(self.folder)} names no classes of its label"
            )
        return Classes(values)

    def groups(self, columns: Sequence[str]) -> list[RowGroup]:
        """The row groups in the order of the files.

        Raises StageFailure(DatasetInvalid) when a file lacks one of the columns, or has other
        numbers of rows than the manifest says.
        """
        info = self.manifest.splits.get(self.split)
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            of_files = pool.map(
                lambda file: self._groups(file, columns), info.files if info else ()
            )
            found = [group for groups in of_files for group in groups]
        if sum(group.rows for group in found) != self.count:
            raise StageFailure(
                "DatasetInvalid",
                f"the {self.split} split of {shown(self.folder)} has not the {self.count} rows of "
                "its manifest",
            )
        return found

    def _groups(self, file: DataFile, columns: Sequence[str]) -> list[RowGroup]:
        path = self.folder / self.split / file.name
        opened = source(path, file.bytes)
        with _opened(path, columns, "DatasetInvalid", opened, self.seal) as parquet:
            meta = parquet.metadata
        if meta.num_rows != file.rows:
            raise StageFailure(
                "DatasetInvalid",
                f"{shown(path)} has {meta.num_rows} rows, its manifest says {file.rows}",
            )
        return [
            RowGroup(path, file.bytes, index, meta.row_group(index).num_rows)
            for index in range(meta.num_row_groups)
        ]

    def batches(
        self, columns: Sequence[str], size: int, groups: Sequence[RowGroup] | None = None
    ) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Batches of at most ``size`` rows of these columns, of all groups or of these.

        Of what is remote a group is in memory, as it was packed, and the next one on its way."""
        chosen = self.groups(columns) if groups is None else groups
        parts = [list(part) for _, part in itertools.groupby(chosen, _by)]
        for part, file in ahead(parts, lambda part: _brought(part[0], columns, self.seal)):
            path, indices = part[0].path, [group.index for group in part]
            for batch in read_parquet(
                path, columns, size, "DatasetInvalid", indices, file, self.seal
            ):
                yield path, batch

    def examples(
        self, names: Sequence[str], encoding: Encoding = NUMBERS
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of these features, [n, d], and of the truth [n].

        Truth is class ids (int64) or values (float64). Raises StageFailure(DatasetInvalid,
        FeatureNotNumeric, FeatureHasNulls, LabelHasNulls).
        """
        for path, batch in self.batches([*names, self.manifest.label], self._size(len(names) + 1)):
            features = np.empty((batch.num_rows, len(names)), dtype=encoding.kind)
            self.fill(path, batch, names, features, encoding)
            yield features, self.truth(path, batch)

    def truths(self) -> Iterator[np.ndarray]:
        """Batches of truth alone."""
        for path, batch in self.batches([self.manifest.label], self._size(1)):
            yield self.truth(path, batch)

    def fill(
        self,
        path: Path,
        batch: pa.RecordBatch,
        names: Sequence[str],
        features: np.ndarray,
        encoding: Encoding = NUMBERS,
    ) -> None:
        """Write the batch's values of these columns into ``features``, [n, d].

        Raises StageFailure(FeatureNotNumeric, FeatureHasNulls). What is beyond float32 becomes
        infinite: the loss, or the prediction, will tell.
        """
        with np.errstate(over="ignore"):
            for index, name in enumerate(names):
                column = batch.column(name)
                try:
                    features[:, index] = encoding.of(name, column)
                except BadColumn as error:
                    reason: ReasonName = (
                        "FeatureHasNulls" if column.null_count else "FeatureNotNumeric"
                    )
                    raise StageFailure(
                        reason, f"feature {name} in {shown(path)} {error}"
                    ) from error

    def truth(self, path: Path, batch: pa.RecordBatch) -> np.ndarray:
        """The batch's labels [n]: class ids int64, or values float64.

        Raises StageFailure(DatasetInvalid, LabelHasNulls)."""
        column = batch.column(self.manifest.label)
        try:
            if self.classes is not None:
                return self.classes.ids(column)
            return numbers(column).astype(np.float64)
        except BadColumn as error:
            reason: ReasonName = "LabelHasNulls" if column.null_count else "DatasetInvalid"
            raise StageFailure(
                reason, f"the label {self.manifest.label} in {shown(path)} {error}"
            ) from error

    def _size(self, columns: int) -> int:
        width = max(columns, len(self.classes or ()))
        return max(1, min(_BATCH_ROWS, _BATCH_NUMBERS // width))


def read_parquet(
    path: Path,
    columns: Sequence[str],
    size: int,
    reason: ReasonName,
    row_groups: Sequence[int] | None = None,
    source: Path | RemoteFile | None = None,
    seal: Seal | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of at most ``size`` rows, with the columns in this order; raises
    StageFailure(reason) for a file that is not parquet or lacks a column. ``source``: what to read
    the file by, if not by its path."""
    with _opened(path, columns, reason, source or path, seal) as file:
        for batch in file.iter_batches(size, row_groups, list(columns), use_threads=False):
            if batch.num_rows:
                yield batch.select(list(columns))


def _by(group: RowGroup) -> RowGroup | Path:
    """What is read together: of a file that is here its groups, else each by itself."""
    return group if isinstance(source(group.path, group.size), RemoteFile) else group.path


def _brought(
    group: RowGroup, columns: Sequence[str], seal: Seal | None = None
) -> Path | RemoteFile:
    """What to read a group by; of what is remote its bytes are in memory, if they are not too many:
    else they are brought piece by piece, as they are read."""
    file = source(group.path, group.size)
    if isinstance(file, RemoteFile):
        with _reading(group.path, "DatasetInvalid"):
            ranges = _ranges(_footer(group.path, group.size, seal).row_group(group.index), columns)
            if sum(end - start for start, end in ranges) <= _HELD_BYTES:
                file.hold(ranges)
    return file


def _ranges(group: pq.RowGroupMetaData, columns: Sequence[str]) -> list[tuple[int, int]]:
    """Where the columns are in the file."""
    wanted, found = set(columns), []
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema.partition(".")[0] in wanted:
            pages = (column.dictionary_page_offset, column.data_page_offset)
            start = min(page for page in pages if page)
            found.append((start, start + column.total_compressed_size))
    return found


@lru_cache(maxsize=32)
def _footer(path: Path, size: int, seal: Seal | None) -> pq.FileMetaData:
    """Of a remote file; a file is opened for each of its groups."""
    return pq.read_metadata(
        source(path, size), decryption_properties=seal and seal.decryption(path)
    )


@contextmanager
def _opened(
    path: Path,
    columns: Sequence[str],
    reason: ReasonName,
    source: Path | RemoteFile,
    seal: Seal | None = None,
) -> Iterator[pq.ParquetFile]:
    bytes_ = min(_READ_BYTES, max(_LEAST_READ_BYTES, _READ_BYTES_OF_ALL // len(columns)))
    with _reading(path, reason):
        footer = _footer(path, source.size, seal) if isinstance(source, RemoteFile) else None
        # Without pre_buffer: it would hold all row groups of the file.
        options = {"buffer_size": bytes_, "pre_buffer": False, "metadata": footer}
        if seal is not None:
            options["decryption_properties"] = seal.decryption(path)
        with pq.ParquetFile(source, **options) as file:
            names = set(file.schema_arrow.names)
            for name in columns:
                if name not in names:
                    raise StageFailure(reason, f"{shown(path)} has no column {name}")
            yield file


@contextmanager
def _reading(path: Path, reason: ReasonName) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError) and reason == "DatasetInvalid":
            message = f"{shown(path)} is gone: another run has replaced the dataset meanwhile"
            raise StageFailure("StorageFailed", message) from error
        # Arrow tells corrupt data as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise from_os_error(error, f"read {path.name}") from error
        raise StageFailure(reason, f"{shown(path)} cannot be read: {one_line(error)}") from error
