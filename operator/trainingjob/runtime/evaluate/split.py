"""The test split, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..base.errors import StageFailure
from ..base.text import one_line
from ..dataset.manifest import DatasetManifest
from .columns import BadColumn, Classes, numbers

# Rows and numbers in a batch: enough that calls cost nothing beside the work, few enough that the
# activations of a wide network stay small.
_BATCH_ROWS = 8192
_BATCH_NUMBERS = 2**20
# Column chunks are read in pieces: Spark's row groups have 128 MiB.
_READ_BYTES = 2**20


@dataclass(frozen=True)
class Split:
    """The test split of the dataset in ``folder``; ``features`` are those of the task."""

    folder: Path
    manifest: DatasetManifest
    features: Sequence[str]

    @property
    def rows(self) -> int:
        """Rows of the split."""
        info = self.manifest.splits.get("test")
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

    def examples(self, names: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of these features, float32 [n, d], and truth [n].

        Truth is class ids (int64) or values (float64). Raises StageFailure(DatasetInvalid,
        FeatureNotNumeric, FeatureHasNulls).
        """
        for path, batch in self._read([*names, self.manifest.label]):
            features = np.empty((batch.num_rows, len(names)), dtype=np.float32)
            with np.errstate(over="ignore"):
                for index, name in enumerate(names):
                    features[:, index] = self._feature(path, name, batch.column(name))
            yield features, self._truth(path, batch)

    def truths(self) -> Iterator[np.ndarray]:
        """Batches of truth alone."""
        for path, batch in self._read([self.manifest.label]):
            yield self._truth(path, batch)

    def _read(self, columns: Sequence[str]) -> Iterator[tuple[Path, pa.RecordBatch]]:
        info = self.manifest.splits["test"]
        width = max(len(columns), len(self.classes or ()))
        size = max(1, min(_BATCH_ROWS, _BATCH_NUMBERS // width))
        for file in info.files:
            path = self.folder / "test" / file.name
            rows = 0
            for batch in read_parquet(path, columns, size, "DatasetInvalid"):
                rows += batch.num_rows
                yield path, batch
            if rows != file.rows:
                raise StageFailure(
                    "DatasetInvalid", f"{path} has {rows} rows, its manifest says {file.rows}"
                )

    def _truth(self, path: Path, batch: pa.RecordBatch) -> np.ndarray:
        column = batch.column(self.manifest.label)
        try:
            if self.classes is not None:
                return self.classes.ids(column)
            return numbers(column).astype(np.float64)
        except BadColumn as error:
            raise StageFailure(
                "DatasetInvalid", f"the label {self.manifest.label} in {path} {error}"
            ) from error

    def _feature(self, path: Path, name: str, column: pa.Array) -> np.ndarray:
        try:
            return numbers(column)
        except BadColumn as error:
            reason = "FeatureHasNulls" if column.null_count else "FeatureNotNumeric"
            raise StageFailure(reason, f"the feature {name} in {path} {error}") from error


def read_parquet(
    path: Path, columns: Sequence[str], size: int, reason: str
) -> Iterator[pa.RecordBatch]:
    """Batches of at most ``size`` rows; raises StageFailure(reason) for a file that is not
    parquet or lacks a column."""
    try:
        # Without pre_buffer: it would hold all row groups of the file.
        with pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
            for name in columns:
                if name not in file.schema_arrow.names:
                    raise StageFailure(reason, f"{path} has no column {name}")
            for batch in file.iter_batches(size, columns=list(columns), use_threads=False):
                if batch.num_rows:
                    yield batch
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise StageFailure(reason, f"{path} cannot be read: {one_line(error)}") from error
