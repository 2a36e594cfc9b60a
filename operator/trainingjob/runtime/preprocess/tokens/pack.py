"""Texts to tokens, and tokens to rows of one length: the same code in both engines.

Sent to Spark's Python workers as it stands.

The texts of a file of the dataset follow each other: end of text, a text, end of text, a text, …,
end of text. Row k holds the tokens from k·L to (k+1)·L, both included, where L is the sequence
length: so every token but the first is predicted once. The last row is filled up with ends of
text; ``length`` is the number of tokens before those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainingjob.runtime.base import tokenizing

Ids = np.ndarray[Any, np.dtype[np.int32]]

# Bytes of texts that are tokens at a time: these take thirty times as much.
_BYTES = 4 * 2**20

# Columns: where a row lies (its file, split and place there), and what it holds.
PLACE = ("trainingjob_file", "__trainingjob_split", "__trainingjob_hash")
TOKENS = "input_ids"
LENGTH = "length"
WHERE = [
    pa.field(PLACE[0], pa.int32()),
    pa.field(PLACE[1], pa.int8()),
    pa.field(PLACE[2], pa.int64()),
]
_IDS = pa.field(TOKENS, pa.list_(pa.int32()))
ENCODED = pa.schema([*WHERE, _IDS])
PACKED = pa.schema([*WHERE, _IDS, pa.field(LENGTH, pa.int32())])


def encode(
    batches: Iterator[pa.RecordBatch],
    tokenizer: str,
    given: str | None,
    threads: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of PLACE and a text, in any order, as ENCODED. ``tokenizer``: its JSON; ``given``: the
    field that names it, unless it was learned. Raises StageFailure(SettingUnsuitable)."""
    tool = tokenizing.Tool(tokenizer, given, threads)
    for batch in batches:
        for part in in_parts(batch):
            # A text that has "<|endoftext|>" in it does not end there.
            found = tool.encode(part.column(3), special=False)
            yield pa.RecordBatch.from_arrays([*part.columns[:3], found.ids], schema=ENCODED)


def pack(
    batches: Iterator[pa.RecordBatch], length: int, end: int, bits: int
) -> Iterator[pa.RecordBatch]:
    """ENCODED rows in the order of PLACE as PACKED, of sequence ``length``. ``end``: the token
    between texts; ``bits``: how many leading bits of a place are the number of its file."""
    row = _Row((-1, -1), np.empty(0, dtype=np.int32), 0)
    for batch in batches:
        files, splits = (np.asarray(batch.column(index)) for index in (0, 1))
        lists = batch.column(3)
        values, offsets = np.asarray(lists.values), np.asarray(lists.offsets)
        # Where another file or split begins.
        changes = np.flatnonzero((np.diff(files) != 0) | (np.diff(splits) != 0)) + 1
        for start, stop in zip([0, *changes], [*changes, len(batch)], strict=True):
            if start == stop:
                continue
            place = (int(files[start]), int(splits[start]))
            if place != row.place:
                yield from row.rest(length, end, bits)
                row = _Row(place, np.array([end], dtype=np.int32), 0)
            first, last = offsets[start], offsets[stop]
            # After each text its end.
            found = np.insert(values[first:last], offsets[start + 1 : stop + 1] - first, end)
            row.tokens = np.concatenate([row.tokens, found])
            yield from row.whole(length, bits)
    yield from row.rest(length, end, bits)


class _Row:
    """The tokens of a file and split that are in no row yet. ``number``: of the next row."""

    def __init__(self, place: tuple[int, int], tokens: Ids, number: int) -> None:
        self.place, self.tokens, self.number = place, tokens, number

    def whole(self, length: int, bits: int) -> Iterator[pa.RecordBatch]:
        """The rows that are full."""
        count = max(0, (len(self.tokens) - 1) // length)
        if count:
            rows = np.lib.stride_tricks.sliding_window_view(self.tokens, length + 1)[::length]
            yield self._batch(rows[:count], np.full(count, length + 1, dtype=np.int32), bits)
            self.tokens = self.tokens[count * length :]

    def rest(self, length: int, end: int, bits: int) -> Iterator[pa.RecordBatch]:
        """The last row, filled up; its first token was predicted in the row before."""
        left = len(self.tokens)
        if left > 1:
            filled = np.full((1, length + 1), end, dtype=np.int32)
            filled[0, :left] = self.tokens
            yield self._batch(filled, np.array([left], dtype=np.int32), bits)

    def _batch(self, rows: Ids, lengths: Ids, bits: int) -> pa.RecordBatch:
        count, width = rows.shape
        file, split = self.place
        # Within the file's range of places, one after the other.
        least = (file << (64 - bits)) - 2**63
        places = np.arange(self.number, self.number + count, dtype=np.int64) + np.int64(least)
        self.number += count
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
        return pa.RecordBatch.from_arrays(
            [
                pa.array(np.full(count, file, dtype=np.int32)),
                pa.array(np.full(count, split, dtype=np.int8)),
                pa.array(places),
                pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel())),
                pa.array(lengths),
            ],
            schema=PACKED,
        )


def in_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in pieces of a bounded number of bytes, or of one text."""
    sizes = pc.binary_length(batch.column(3)).to_numpy(zero_copy_only=False)
    start, total = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if total and total + size > _BYTES:
            yield batch.slice(start, at - start)
            start, total = at, 0
        total += size
    if start < len(batch):
        yield batch.slice(start)


def lists(ids: list[Ids]) -> pa.Array:
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in ids], out=offsets[1:])
    values = np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
