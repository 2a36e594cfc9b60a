"""Rows of a dataset as float32 batches, streamed: the data may be larger than memory.

A split is read as a sequence of windows, each a bounded number of decoded rows. Per epoch the
order of row groups is permuted, and so are the rows inside each window. Windows hold a whole
number of global batches, and each process takes a contiguous share of every global batch: what a
step learns from depends on (seed, epoch, step) alone, never on the number of processes. A split
that is small enough is one window, decoded once and kept.

The ranks of a node have their windows in common: each reads every so many of the row groups and
puts their rows where they belong, so that a node reads and decodes a row once.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ..dataset.moments import Moments
from ..dataset.rows import RowGroup, Rows
from ..gang.collectives import Gang
from ..gang.place import Place
from ..gang.shared import shared
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
# The first three of them, in memory.
Buffers = tuple[Tensor, Tensor, Tensor | None]


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
        self._gang: Gang | None = None
        self._memory: list[Buffers] = []

    def read_with(self, gang: Gang) -> None:
        """Read each row once on a node, by one of its ranks, which all ask for the same batches."""
        self._gang = gang

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
        """Windows from number ``first`` on, each until the next one is asked for; ``order`` is the
        (seed, epoch) of the permutation."""
        count = math.ceil(self.rows / self.window_rows)
        if first < count and self._kept is not None:
            yield first, self._kept
        elif first < count:
            for number, window in self._read(order, first, count):
                if count == 1:
                    self._kept, self._memory = window, []
                yield number, window

    def _read(
        self, order: tuple[int, int] | None, first: int, count: int
    ) -> Iterator[tuple[int, Window]]:
        groups = self._groups
        if order is not None and count > 1:
            groups = [groups[i] for i in _permutation(len(groups), *order, -1).tolist()]
        if not self._memory:
            self._memory = [self._buffers() for _ in range(min(count, 2))]
        # When all ranks are here none of them needs the window before any more, and each has put
        # its rows into the next one: so one is in use, and the other one is being filled.
        self._meet()
        filling = self._fill_mine(groups, first)
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
            coming = pool.submit(next, filling)
            for number in range(first, count):
                coming.result()
                self._meet()
                if number + 1 < count:
                    coming = pool.submit(next, filling)
                rows = slice(min(self.window_rows, self.rows - number * self.window_rows))
                x, y, w = self._memory[number % 2]
                w = None if w is None else w[rows]
                there = None if w is None else w.to(self.device)
                yield number, (x[rows].to(self.device), y[rows].to(self.device), there, w)

    def _fill_mine(self, groups: list[RowGroup], first: int) -> Iterator[None]:
        """Put the rows of this rank's groups where they belong in the windows from number ``first``
        on: into the next one each time."""
        place = self._gang.place if self._gang else Place()
        starts = itertools.accumulate((group.rows for group in groups), initial=0)
        its = list(zip(starts, groups, strict=False))[place.local_rank :: place.local_world]
        mine = [one for one in its if one[0] + one[1].rows > first * self.window_rows]
        names = [*self._names, *(self.weights.columns if self.weights else ())]
        batches = self.source.batches(names, self._decoded, [group for _, group in mine])
        window, batch = first, None
        for at, group in mine:
            left = group.rows
            while left:
                while at >= (window + 1) * self.window_rows:
                    yield
                    window += 1
                if batch is None or not batch.num_rows:
                    path, batch = next(batches)
                offset = at - window * self.window_rows
                # Below 0: a run goes on in the middle of a group.
                room = self.window_rows - offset if offset >= 0 else -offset
                count = min(batch.num_rows, left, room)
                if offset >= 0:
                    part = slice(offset, offset + count)
                    self._fill(path, batch.slice(0, count), self._memory[window % 2], part)
                at, left, batch = at + count, left - count, batch.slice(count)
        while True:
            yield

    def _meet(self) -> None:
        if self._gang is not None and self._gang.place.local_world > 1:
            self._gang.barrier()

    def _buffers(self) -> Buffers:
        """Of a window, which the ranks of a node have in common."""
        kinds = self._kinds()
        rows = min(self.rows, self.window_rows)
        sizes = [math.prod((rows, *shape)) * kind.itemsize for shape, kind in kinds]
        # Each begins where any kind of number may.
        ends = list(itertools.accumulate(-(-size // 64) * 64 for size in sizes))
        memory = (
            torch.empty(ends[-1], dtype=torch.uint8)
            if self._gang is None
            else shared(self._gang, ends[-1])
        )
        x, y, *w = (
            memory[start : start + size].view(kind).view(rows, *shape)
            for start, size, (shape, kind) in zip([0, *ends], sizes, kinds, strict=False)
        )
        return x, y, w[0] if w else None

    def _kinds(self) -> list[tuple[tuple[int, ...], torch.dtype]]:
        """The shape of a row, and the type of its numbers: of features, targets and weights."""
        of_target = torch.float32 if self.source.classes is None else torch.int64
        found = [((len(self._names) - 1,), torch.float32), ((), of_target)]
        return [*found, ((), torch.float32)] if self.weights is not None else found

    def _fill(
        self,
        path: Path,
        batch: pa.RecordBatch,
        window: Buffers,
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
        return self.target.learned(self._names[-1], truth)


def _permutation(count: int, seed: int, epoch: int, number: int) -> Tensor:
    """The same for the same numbers, on every machine."""
    generator = torch.Generator().manual_seed(mix(seed, epoch, number))
    return torch.randperm(count, generator=generator)


def mix(*numbers: int) -> int:
    """A seed from several numbers, below 2**63. SeedSequence is numpy's tool for it, and stable."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
