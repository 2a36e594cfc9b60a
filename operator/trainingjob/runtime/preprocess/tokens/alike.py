"""Texts that are nearly the same, found by MinHash: the same code in both engines.

Sent to Spark's Python workers as it stands, so that it imports nothing of ours.

Texts are as similar as the sets of their runs of words are, by Jaccard: what both have over what
either has. The least hash of a set is that of another one as often as they are similar (Broder,
1997). Of so many hashes, bands of some rows each make a key; two texts of similarity s share a key
with the probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman, Ullman: Mining of Massive
Datasets, 3.4).
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

Longs = np.ndarray[Any, np.dtype[np.uint64]]

_HASHES = 256
# Runs of words that are hashed at a time.
_AT_ONCE = 4096
# Chinese, Japanese and Korean have no blanks between words: there a character is one.
_WORD = re.compile(r"[^\W\u3040-\u9fff\uac00-\ud7a3]+|[\u3040-\u9fff\uac00-\ud7a3]")


@cache
def banding(similarity: float) -> tuple[int, int]:
    """How many bands, of how many rows: those by which the fewest pairs are taken wrongly, if all
    similarities are equally frequent."""
    below, above = (
        np.linspace(start, stop, 100, endpoint=False)
        for start, stop in ((0.0, similarity), (similarity, 1.0))
    )

    def wrong(bands: int, rows: int) -> float:
        taken, left = 1 - (1 - below**rows) ** bands, (1 - above**rows) ** bands
        return float(taken.mean() * similarity + left.mean() * (1 - similarity))

    ways = ((_HASHES // rows, rows) for rows in range(1, 65))
    return min(ways, key=lambda way: wrong(*way))


def keys(texts: pa.Array, bands: int, rows: int, words: int) -> pa.Array:
    """The keys of each text, int64 [bands]; those of two texts in one place differ between bands.
    ``words``: of a run."""
    found = [_keys(text, bands, rows, words) for text in texts.to_pylist()]
    offsets = np.arange(len(found) + 1, dtype=np.int32) * np.int32(bands)
    values = np.concatenate(found) if found else np.empty(0, dtype=np.uint64)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.view(np.int64)))


def _keys(text: str, bands: int, rows: int, words: int) -> Longs:
    least = _least(_runs(text, words), bands * rows).reshape(bands, rows)
    found = np.arange(bands, dtype=np.uint64)
    for row in range(rows):
        found = _mixed(found ^ least[:, row])
    return found


def _runs(text: str, words: int) -> Longs:
    """Hashes of the runs of so many words, each once; of a shorter text one of all it has."""
    found = _WORD.findall(text.lower()) or [text]
    hashes = np.array([zlib.crc32(word.encode()) for word in found], dtype=np.uint64)
    words = min(words, len(hashes))
    runs = np.zeros(len(hashes) - words + 1, dtype=np.uint64)
    for place in range(words):
        runs = _mixed(runs + hashes[place : place + len(runs)])
    return np.unique(runs)


def _least(runs: Longs, count: int) -> Longs:
    """The least of so many hashes of each run."""
    factors, terms = _parameters(count)
    parts = (runs[start : start + _AT_ONCE] for start in range(0, len(runs), _AT_ONCE))
    found = [(factors * part + terms).min(axis=1) for part in parts]
    return np.min(found, axis=0)


@cache
def _parameters(count: int) -> tuple[Longs, Longs]:
    numbers = _mixed(np.arange(2 * count, dtype=np.uint64)).reshape(2, count, 1)
    return numbers[0] | np.uint64(1), numbers[1]


def _mixed(numbers: Longs) -> Longs:
    """splitmix64 (Steele, Lea, Flood, 2014), modulo 2**64."""
    found = numbers + np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))
