"""What some steps do to a column of an Arrow batch, in numpy: the same code in both engines.

Sent to Spark's Python workers as it stands, so that it imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

# As scikit-learn's text vectorizers have it by default, after lower().
_WORD = re.compile(r"(?u)\b\w\w+\b")

Doubles = np.ndarray[Any, np.dtype[np.float64]]


def words(texts: pa.Array) -> pa.Array:
    """The words of each text, in their order; of null, none."""
    return pa.array([_words(text) for text in texts.to_pylist()], type=pa.list_(pa.string()))


def hashed_words(texts: pa.Array, size: int) -> pa.Array:
    """As HashingVectorizer(n_features=size): signed counts of words by their hash, of length 1."""
    return _lists(_normal(_hashed([_words(text) for text in texts.to_pylist()], size)))


def hashed_value(texts: pa.Array, size: int) -> pa.Array:
    """As FeatureHasher(size, input_type="string") of one string a row."""
    return _lists(_hashed([() if t is None else (t,) for t in texts.to_pylist()], size))


def weighted_words(
    texts: pa.Array, places: Mapping[str, int], weights: Sequence[float]
) -> pa.Array:
    """As TfidfVectorizer with this vocabulary: counts by weights, of length 1."""
    found = [
        (row, place)
        for row, text in enumerate(texts.to_pylist())
        for word in _words(text)
        if (place := places.get(word)) is not None
    ]
    counts = _counted(found, len(texts), len(weights))
    counts *= np.asarray(weights)
    return _lists(_normal(counts))


def bin_of(values: pa.Array, borders: Sequence[float]) -> pa.Array:
    """How many of the borders are not greater than the value."""
    x = np.asarray(values.fill_null(0.0), dtype=np.float64)
    found = np.searchsorted(np.asarray(borders, dtype=np.float64), x, side="right")
    return pa.array(found.astype(np.int64), mask=np.asarray(values.is_null()))


def rank(values: pa.Array, quantiles: Sequence[float]) -> pa.Array:
    """As QuantileTransformer with these quantiles, of shares that are evenly from 0 to 1. Equal
    quantiles are looked at from below and from above."""
    known, shares = np.asarray(quantiles), np.linspace(0, 1, len(quantiles))
    nulls = np.asarray(values.is_null())
    x = np.asarray(values.fill_null(0.0), dtype=np.float64)
    found = 0.5 * (np.interp(x, known, shares) - np.interp(-x, -known[::-1], -shares[::-1]))
    found[x == known[-1]] = 1.0
    found[x == known[0]] = 0.0
    return pa.array(found, mask=nulls)


def _words(text: str | None) -> list[str]:
    return _WORD.findall(text.lower()) if text else []


def _hashed(rows: Sequence[Iterable[str]], size: int) -> Doubles:
    numbers: dict[str, int] = {}
    found = [
        (row, numbers.setdefault(word, len(numbers)))
        for row, its in enumerate(rows)
        for word in its
    ]
    hashes = murmur3([word.encode("utf-8", "surrogatepass") for word in numbers])
    signs = np.where(hashes >= 0, 1.0, -1.0)
    # Of the least number there is no positive one: scikit-learn takes 2**31 for it.
    places = np.abs(hashes.astype(np.int64)) % size
    pairs = [(row, places[number]) for row, number in found]
    return _counted(pairs, len(rows), size, [signs[number] for _, number in found])


def _counted(
    pairs: Sequence[tuple[int, int]], rows: int, size: int, weights: Sequence[float] | None = None
) -> Doubles:
    """How often each pair of a row and a column is there, or the sum of weights of it."""
    if not pairs:
        return np.zeros((rows, size))
    row, place = np.array(pairs, dtype=np.int64).T
    counts = np.bincount(row * size + place, weights, minlength=rows * size)
    return counts.astype(np.float64, copy=False).reshape(rows, size)


def murmur3(texts: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """MurmurHash3_x86_32 with seed 0, of texts of one length at a time.
    https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp"""
    found = np.empty(len(texts), dtype=np.uint32)
    by_length: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        by_length.setdefault(len(text), []).append(index)
    for length, places in by_length.items():
        block = np.frombuffer(b"".join(texts[place] for place in places), dtype=np.uint8)
        found[places] = _murmur3(block.reshape(len(places), length))
    return found.view(np.int32)


def _murmur3(texts: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint32]]:
    count, length = texts.shape
    hashes = np.zeros(count, dtype=np.uint32)
    padded = np.zeros((count, -(-length // 4) * 4), dtype=np.uint8)
    padded[:, :length] = texts
    with np.errstate(over="ignore"):
        for number, part in enumerate(np.ascontiguousarray(padded).view("<u4").T):
            part = _rotated(part * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
            hashes = hashes ^ part
            if 4 * number + 4 <= length:
                hashes = _rotated(hashes, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        hashes = hashes ^ np.uint32(length)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
        return hashes ^ (hashes >> np.uint32(16))


def _rotated(value: Any, bits: int) -> Any:
    return (value << np.uint32(bits)) | (value >> np.uint32(32 - bits))


def _normal(matrix: Doubles) -> Doubles:
    """The matrix itself, its rows divided by their lengths: it may be large."""
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    matrix /= np.where(lengths > 0, lengths, 1.0)[:, None]
    return matrix


def _lists(matrix: Doubles) -> pa.Array:
    rows, size = matrix.shape
    matrix += 0.0  # -0.0 is nowhere in a dataset
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(size)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))
