"""Rows of a dataset as float32 batches, streamed: the data may be larger than memory.

A split is read as a sequence of windows, each a bounded number of decoded rows. Per epoch the
order of row groups is permuted, and so are the rows inside each window. Windows hold a whole
number of global batches, and each process takes a contiguous share of every global batch: what a
step learns from depends on (seed, epoch, step) alone, never on the number of processes. A split
that is small enough is one window, decoded once and kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from trainingjob.api.v1alpha1.job import Task

from ..base.errors import StageFailure, from_os_error
from ..dataset import suitable
from ..dataset.manifest import DatasetManifest, SplitName

# Decoded bytes of a window. Two are in memory at a time: one in use, one being read.
WINDOW_BYTES = int(os.environ.get("TRAININGJOB_WINDOW_BYTES", 64 * 2**20))
# A split of at most so many windows stays decoded.
KEPT_WINDOWS = 4
# Rows decoded at once: a few hundred kilobytes, which stay in the processor's cache.
_DECODE_ROWS = 16384


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and how the label becomes a target."""

    features: list[str]
    label: str
    classes: list[bool | int | float | str] | None
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, manifest: DatasetManifest, task: Task) -> Columns:
        """Raises StageFailure when the dataset is not one for this task."""
        suitable.check(manifest, task)
        features = suitable.features(manifest, task)
        suitable.check_numeric(manifest, features)
        return cls(features, task.label, manifest.classes)

    def standardised(self, mean: float, std: float) -> Columns:
        """The same, with a regression's target as (value - mean) / std."""
        return replace(self, mean=mean, std=std)

    @property
    def row_bytes(self) -> int:
        """Bytes of a decoded row; the target takes at most eight."""
        return 4 * len(self.features) + 8

    def target(self, values: pa.Array) -> np.ndarray:
        """Class indices int64 [n], or standardised values float32 [n]."""
        if values.null_count:
            raise StageFailure("LabelHasNulls", f"label {self.label} has nulls")
        if self.classes is None:
            return (_numpy(values).astype(np.float64) - self.mean) / self.std
        try:
            known = pa.array(self.classes).cast(values.type)
        except pa.ArrowException as error:
            raise StageFailure(
                "DatasetInvalid", f"the classes are not of the type of label {self.label}"
            ) from error
        indices = pc.index_in(values, value_set=known)
        if indices.null_count:
            unknown = values.filter(indices.is_null())[0]
            raise StageFailure(
                "DatasetInvalid", f"label {self.label} has {unknown}, not a class of its manifest"
            )
        return _numpy(indices)


@dataclass(frozen=True)
class RowGroup:
    """The unit in which the order of reading is permuted."""

    path: Path
    index: int
    rows: int


class Split:
    """One split of a dataset, for one process.

    ``batch`` is the global batch size; windows hold a multiple of it. Raises
    StageFailure(DatasetInvalid) when a file is not what the manifest says.
    """

    def __init__(
        self,
        folder: Path,
        manifest: DatasetManifest,
        name: SplitName,
        columns: Columns,
        batch: int,
        device: torch.device | None = None,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.columns = columns
        self.rows = manifest.splits[name].rows
        self.batch = batch
        self.device = device or torch.device("cpu")
        self._groups = [
            group
            for file in manifest.splits[name].files
            for group in _row_groups(folder / name / file.name, columns)
        ]
        if sum(group.rows for group in self._groups) != self.rows:
            raise StageFailure(
                "DatasetInvalid", f"the {name} split has not the {self.rows} rows of its manifest"
            )
        kept = self.rows * columns.row_bytes <= KEPT_WINDOWS * window_bytes
        batches = max(1, window_bytes // columns.row_bytes // batch)
        self.window_rows = max(1, self.rows) if kept else batches * batch
        self._kept: tuple[Tensor, Tensor] | None = None

    @property
    def steps(self) -> int:
        """Global batches an epoch; the last one may be smaller."""
        return math.ceil(self.rows / self.batch)

    def batches(
        self, seed: int, epoch: int, rank: int, world: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, int]]:
        """This process's share of each global batch of the epoch, from batch ``start`` on.

        Yields features [m, d], targets [m] and the rows of the whole global batch; m may be 0.
        """
        first = start * self.batch
        for number, x, y in self._windows((seed, epoch), first // self.window_rows):
            # torch's generators, not numpy's, because their streams are part of its interface.
            order = _permutation(len(y), seed, epoch, number).to(self.device)
            begin = max(0, first - number * self.window_rows)
            for offset in range(begin, len(y), self.batch):
                size = min(self.batch, len(y) - offset)
                mine = order[offset + size * rank // world : offset + size * (rank + 1) // world]
                yield x.index_select(0, mine), y.index_select(0, mine), size

    def share(self, rank: int, world: int, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of all rows, unpermuted, in pieces of at most ``chunk`` rows."""
        for _, x, y in self._windows(None, 0):
            mine = slice(len(y) * rank // world, len(y) * (rank + 1) // world)
            for at in range(mine.start, mine.stop, chunk):
                part = slice(at, min(at + chunk, mine.stop))
                yield x[part], y[part]

    def target_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the label; 1 for a constant one.

        Chan's pairwise update: exact for large means, in one pass.
        """
        count, mean, squares = 0, 0.0, 0.0
        for group in self._groups:
            for batch in _read(group, [self.columns.label]):
                values = _numpy(batch.column(0)).astype(np.float64)
                delta = float(values.mean()) - mean
                total = count + len(values)
                mean += delta * len(values) / total
                squares += float(((values - values.mean()) ** 2).sum())
                squares += delta**2 * count * len(values) / total
                count = total
        std = math.sqrt(squares / max(1, count))
        return mean, std if std > 0 else 1.0

    def _windows(
        self, order: tuple[int, int] | None, first: int
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Windows from number ``first`` on; ``order`` is the (seed, epoch) of the permutation."""
        if self.window_rows >= self.rows:
            if self._kept is None and self.rows:
                self._kept = next(self._decode(self._groups, 0))
            if self._kept is not None and first == 0:
                yield 0, *self._kept
            return
        if first * self.window_rows >= self.rows:
            return
        groups = self._groups
        if order is not None:
            groups = [groups[i] for i in _permutation(len(groups), *order, -1).tolist()]
        windows = _ahead(self._decode(groups, first * self.window_rows))
        for number, (x, y) in enumerate(windows, first):
            yield number, x, y

    def _decode(self, groups: list[RowGroup], skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows of the groups after the first ``skip``, in windows."""
        left = self.rows - skip
        x, y, filled = *self._buffers(left), 0
        for group in groups:
            if skip >= group.rows:
                skip -= group.rows
                continue
            for batch in _read(group, [*self.columns.features, self.columns.label]):
                at = min(skip, batch.num_rows)
                skip -= at
                while at < batch.num_rows:
                    count = min(batch.num_rows - at, len(y) - filled)
                    self._fill(batch.slice(at, count), x[filled:], y[filled:])
                    at, filled, left = at + count, filled + count, left - count
                    if filled == len(y):
                        yield x.to(self.device), y.to(self.device)
                        x, y, filled = *self._buffers(left), 0

    def _buffers(self, left: int) -> tuple[Tensor, Tensor]:
        rows = min(left, self.window_rows)
        kind = torch.float32 if self.columns.classes is None else torch.int64
        return torch.empty(rows, len(self.columns.features)), torch.empty(rows, dtype=kind)

    def _fill(self, batch: pa.RecordBatch, x: Tensor, y: Tensor) -> None:
        rows, features = x.numpy(), self.columns.features
        with np.errstate(over="ignore"):  # beyond float32 is infinite: the loss will tell
            for i, values in enumerate(batch.columns[: len(features)]):
                if values.null_count:
                    raise StageFailure("FeatureHasNulls", f"feature {features[i]} has nulls")
                rows[: len(values), i] = _numpy(values)
            y.numpy()[: batch.num_rows] = self.columns.target(batch.columns[-1])


def _row_groups(path: Path, columns: Columns) -> list[RowGroup]:
    with _reading(path), pq.ParquetFile(path) as file:
        missing = {*columns.features, columns.label} - set(file.schema_arrow.names)
        if missing:
            raise StageFailure("DatasetInvalid", f"{path} has no column {min(missing)}")
        meta = file.metadata
        return [RowGroup(path, i, meta.row_group(i).num_rows) for i in range(meta.num_row_groups)]


def _read(group: RowGroup, names: list[str]) -> Iterator[pa.RecordBatch]:
    """The group's rows with the columns in this order."""
    # Without pre_buffer a large row group is read page by page, not as a whole.
    with _reading(group.path), pq.ParquetFile(group.path, pre_buffer=False) as file:
        for batch in file.iter_batches(_DECODE_ROWS, [group.index], names, use_threads=False):
            yield batch.select(names)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn arrow's errors into StageFailures about ``path``."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Arrow tells corrupt data as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise from_os_error(error, "read the dataset") from error
        raise StageFailure("DatasetInvalid", f"{path} cannot be read: {error}") from error


def _numpy(values: pa.Array) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _permutation(count: int, seed: int, epoch: int, number: int) -> Tensor:
    """The same for the same numbers, on every machine."""
    generator = torch.Generator().manual_seed(mix(seed, epoch, number))
    return torch.randperm(count, generator=generator)


def mix(*numbers: int) -> int:
    """A seed from several numbers, below 2**63. SeedSequence is numpy's tool for it, and stable."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _ahead(items: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same items, the next one made in a thread while the present one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
            del item
