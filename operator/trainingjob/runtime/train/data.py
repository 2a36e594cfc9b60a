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
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ..base.errors import StageFailure
from ..dataset.moments import Moments
from ..dataset.rows import RowGroup, Rows
from ..model.target import Target
from .weights import Weights

# Decoded bytes of a window. Two are in memory at a time: one in use, one being read.
WINDOW_BYTES = int(os.environ.get("TRAININGJOB_WINDOW_BYTES", 64 * 2**20))
# A split of at most so many windows stays decoded.
KEPT_WINDOWS = 4
# Rows decoded at once: a few hundred kilobytes, which stay in the processor's cache.
_DECODE_ROWS = 16384

# Features [n, d], targets [n] and, of rows that are weighed, their weights [n], which stay in the
# CPU's memory, too: sums of them are needed there.
Window = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


class Split:
    """One split of a dataset, for one process.

    ``batch`` is the global batch size; windows hold a multiple of it. ``target`` says what is
    learned instead of a regression's label, ``weights`` what a row counts: to be set before the
    first row is read. Raises StageFailure(DatasetInvalid) when a file is not what the manifest
    says.
    """

    def __init__(
        self,
        source: Rows,
        batch: int,
        device: torch.device | None = None,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self.source = source
        self.rows = source.count
        self.batch = batch
        self.device = device or torch.device("cpu")
        self.target = Target()
        self.weights: Weights | None = None
        self._names, row_bytes = self._row()
        self._decoded = max(1, min(_DECODE_ROWS, window_bytes // row_bytes))
        self._groups = source.groups(self._names)
        kept = self.rows * row_bytes <= KEPT_WINDOWS * window_bytes
        batches = max(1, window_bytes // row_bytes // batch)
        self.window_rows = max(1, self.rows) if kept else batches * batch
        self._kept: Window | None = None

    def _row(self) -> tuple[list[str], int]:
        """The columns of a row, the target's last, and its bytes when it is decoded."""
        names = [*self.source.features, self.source.manifest.label]
        return names, 4 * (len(names) - 1) + 8

    @property
    def steps(self) -> int:
        """Global batches an epoch; the last one may be smaller."""
        return math.ceil(self.rows / self.batch)

    def batches(
        self, seed: int, epoch: int, rank: int, world: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None, float]]:
        """This process's share of each global batch of the epoch, from batch ``start`` on.

        Yields features [m, d], targets [m], weights [m] or None, and the weight of the whole
        global batch, which without weights is its number of rows; m may be 0.
        """
        first = start * self.batch
        for number, (x, y, w, on_cpu) in self._windows((seed, epoch), first // self.window_rows):
            # torch's generators, not numpy's, because their streams are part of its interface.
            order = _permutation(len(y), seed, epoch, number)
            there = order.to(self.device)
            begin = max(0, first - number * self.window_rows)
            for offset in range(begin, len(y), self.batch):
                size = min(self.batch, len(y) - offset)
                mine = there[offset + size * rank // world : offset + size * (rank + 1) // world]
                total = float(size)
                if on_cpu is not None:
                    total = float(on_cpu[order[offset : offset + size]].sum(dtype=torch.float64))
                yield (
                    x.index_select(0, mine),
                    y.index_select(0, mine),
                    None if w is None else w.index_select(0, mine),
                    total,
                )

    def target_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the target; 1 for a constant one.

        Chan's pairwise update: exact for large means, in one pass.
        """
        moments = Moments()
        for path, batch in self.source.batches([self._names[-1]], _DECODE_ROWS, self._groups):
            moments.add(self._target(path, batch))
        return (moments.mean, moments.deviation or 1.0) if moments.count else (0.0, 1.0)

    def _windows(self, order: tuple[int, int] | None, first: int) -> Iterator[tuple[int, Window]]:
        """Windows from number ``first`` on; ``order`` is the (seed, epoch) of the permutation."""
        if self.window_rows >= self.rows:
            if self._kept is None and self.rows:
                self._kept = next(self._decode(self._groups, 0))
            if self._kept is not None and first == 0:
                yield 0, self._kept
            return
        if first * self.window_rows >= self.rows:
            return
        groups = self._groups
        if order is not None:
            groups = [groups[i] for i in _permutation(len(groups), *order, -1).tolist()]
        yield from enumerate(_ahead(self._decode(groups, first * self.window_rows)), first)

    def _decode(self, groups: list[RowGroup], skip: int) -> Iterator[Window]:
        """The rows of the groups after the first ``skip``, in windows."""
        left = self.rows - skip
        names = [*self._names, *(self.weights.columns if self.weights else ())]
        window, filled = self._buffers(left), 0
        first = 0
        while first < len(groups) and skip >= groups[first].rows:
            skip -= groups[first].rows
            first += 1
        for path, batch in self.source.batches(names, self._decoded, groups[first:]):
            at = min(skip, batch.num_rows)
            skip -= at
            while at < batch.num_rows:
                count = min(batch.num_rows - at, len(window[1]) - filled)
                part = slice(filled, filled + count)
                self._fill(path, batch.slice(at, count), window, part)
                at, filled, left = at + count, filled + count, left - count
                if filled == len(window[1]):
                    x, y, w = window
                    yield (
                        x.to(self.device),
                        y.to(self.device),
                        None if w is None else w.to(self.device),
                        w,
                    )
                    window, filled = self._buffers(left), 0

    def _buffers(self, left: int) -> tuple[Tensor, Tensor, Tensor | None]:
        rows = min(left, self.window_rows)
        kind = torch.float32 if self.source.classes is None else torch.int64
        weights = torch.empty(rows) if self.weights is not None else None
        return torch.empty(rows, len(self._names) - 1), torch.empty(rows, dtype=kind), weights

    def _fill(
        self,
        path: Path,
        batch: pa.RecordBatch,
        window: tuple[Tensor, Tensor, Tensor | None],
        part: slice,
    ) -> None:
        x, y, w = window
        self.source.fill(path, batch, self._names[:-1], x.numpy()[part])
        truth = self._target(path, batch)
        y.numpy()[part] = truth
        if w is not None and self.weights is not None:
            w.numpy()[part] = self.weights.of(path, batch, truth)

    def _target(self, path: Path, batch: pa.RecordBatch) -> np.ndarray:
        """Class ids int64 [n], or targets float64 [n]."""
        truth = self.source.truth(path, batch)
        if self.source.classes is not None:
            return truth
        least = self.target.above
        if least is not None and len(truth) and not truth.min() > least:
            raise StageFailure(
                "SettingUnsuitable",
                f"train.targetTransform is {self.target.transform}, which needs values above "
                f"{least:g}: the label {self._names[-1]} has {truth.min():g}",
            )
        return self.target.of(truth)


def _permutation(count: int, seed: int, epoch: int, number: int) -> Tensor:
    """The same for the same numbers, on every machine."""
    generator = torch.Generator().manual_seed(mix(seed, epoch, number))
    return torch.randperm(count, generator=generator)


def mix(*numbers: int) -> int:
    """A seed from several numbers, below 2**63. SeedSequence is numpy's tool for it, and stable."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _ahead(items: Iterator[Window]) -> Iterator[Window]:
    """The same items, the next one made in a thread while the present one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item
            del item
