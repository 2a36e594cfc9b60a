"""The rows of a split, in batches of bounded size: how training and evaluation read a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..base.errors import StageFailure, from_os_error
from ..base.text import one_line
from .columns import BadColumn, numbers
from .labels import Classes
from .manifest import DatasetManifest, SplitName

# Rows and numbers in a batch: enough that calls cost nothing beside the work, few enough that the
# activations of a wide network stay small.
_BATCH_ROWS = 8192
_BATCH_NUMBERS = 2**20
# Column chunks are read in pieces, since Spark's row groups have 128 MiB: of each column so much,
# and no more than this of all.
_READ_BYTES = 2**20
_READ_BYTES_OF_ALL = 2**26
_LEAST_READ_BYTES = 2**13


@dataclass(frozen=True)
class RowGroup:
    """What a file is read by; ``index`` within the file."""

    path: Path
    index: int
    rows: int


@dataclass(frozen=True)
class Rows:
    """A split of the dataset in ``folder``; ``features`` are those of the task."""

    folder: Path
    manifest: DatasetManifest
    split: SplitName
    features: Sequence[str]

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
            raise StageFailure("DatasetInvalid", f"{self.folder} names no classes of its label")
        return Classes(values)

    def groups(self, columns: Sequence[str]) -> list[RowGroup]:
        """The row groups in the order of the files.

        Raises StageFailure(DatasetInvalid) when a file lacks one of the columns, or has other
        numbers of rows than the manifest says.
        """
        info = self.manifest.splits.get(self.split)
        found = []
        for file in info.files if info else ():
            path = self.folder / self.split / file.name
            with _opened(path, columns, "DatasetInvalid") as parquet:
                meta = parquet.metadata
                if meta.num_rows != file.rows:
                    raise StageFailure(
                        "DatasetInvalid",
                        f"{path} has {meta.num_rows} rows, its manifest says {file.rows}",
                    )
                found += [
                    RowGroup(path, index, meta.row_group(index).num_rows)
                    for index in range(meta.num_row_groups)
                ]
        if sum(group.rows for group in found) != self.count:
            raise StageFailure(
                "DatasetInvalid",
                f"the {self.split} split of {self.folder} has not the {self.count} rows of its "
                "manifest",
            )
        return found

    def batches(
        self, columns: Sequence[str], size: int, groups: Sequence[RowGroup] | None = None
    ) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Batches of at most ``size`` rows of these columns, of all groups or of these."""
        chosen = self.groups(columns) if groups is None else groups
        for path, of_file in itertools.groupby(chosen, lambda group: group.path):
            indices = [group.index for group in of_file]
            for batch in read_parquet(path, columns, size, "DatasetInvalid", indices):
                yield path, batch

    def examples(self, names: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of these features, float32 [n, d], and of the truth [n].

        Truth is class ids (int64) or values (float64). Raises StageFailure(DatasetInvalid,
        FeatureNotNumeric, FeatureHasNulls, LabelHasNulls).
        """
        for path, batch in self.batches([*names, self.manifest.label], self._size(len(names) + 1)):
            features = np.empty((batch.num_rows, len(names)), dtype=np.float32)
            self.fill(path, batch, names, features)
            yield features, self.truth(path, batch)

    def truths(self) -> Iterator[np.ndarray]:
        """Batches of truth alone."""
        for path, batch in self.batches([self.manifest.label], self._size(1)):
            yield self.truth(path, batch)

    def fill(
        self, path: Path, batch: pa.RecordBatch, names: Sequence[str], features: np.ndarray
    ) -> None:
        """Write the batch's values of these columns into ``features``, float32 [n, d].

        Raises StageFailure(FeatureNotNumeric, FeatureHasNulls). What is beyond float32 becomes
        infinite: the loss, or the prediction, will tell.
        """
        with np.errstate(over="ignore"):
            for index, name in enumerate(names):
                column = batch.column(name)
                try:
                    features[:, index] = numbers(column)
                except BadColumn as error:
                    reason = "FeatureHasNulls" if column.null_count else "FeatureNotNumeric"
                    raise StageFailure(reason, f"feature {name} in {path} {error}") from error

    def truth(self, path: Path, batch: pa.RecordBatch) -> np.ndarray:
        """The batch's labels [n]: class ids int64, or values float64.

        Raises StageFailure(DatasetInvalid, LabelHasNulls)."""
        column = batch.column(self.manifest.label)
        try:
            if self.classes is not None:
                return self.classes.ids(column)
            return numbers(column).astype(np.float64)
        except BadColumn as error:
            reason = "LabelHasNulls" if column.null_count else "DatasetInvalid"
            raise StageFailure(
                reason, f"the label {self.manifest.label} in {path} {error}"
            ) from error

    def _size(self, columns: int) -> int:
        width = max(columns, len(self.classes or ()))
        return max(1, min(_BATCH_ROWS, _BATCH_NUMBERS // width))


def read_parquet(
    path: Path,
    columns: Sequence[str],
    size: int,
    reason: str,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Batches of at most ``size`` rows, with the columns in this order; raises
    StageFailure(reason) for a file that is not parquet or lacks a column."""
    with _opened(path, columns, reason) as file:
        for batch in file.iter_batches(size, row_groups, list(columns), use_threads=False):
            if batch.num_rows:
                yield batch.select(list(columns))


@contextmanager
def _opened(path: Path, columns: Sequence[str], reason: str) -> Iterator[pq.ParquetFile]:
    bytes_ = min(_READ_BYTES, max(_LEAST_READ_BYTES, _READ_BYTES_OF_ALL // len(columns)))
    try:
        # Without pre_buffer: it would hold all row groups of the file.
        with pq.ParquetFile(path, buffer_size=bytes_, pre_buffer=False) as file:
            names = set(file.schema_arrow.names)
            for name in columns:
                if name not in names:
                    raise StageFailure(reason, f"{path} has no column {name}")
            yield file
    except (pa.ArrowException, OSError) as error:
        # Arrow tells corrupt data as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise from_os_error(error, f"read {path.name}") from error
        raise StageFailure(reason, f"{path} cannot be read: {one_line(error)}") from error
