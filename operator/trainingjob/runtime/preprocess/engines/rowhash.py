"""Spark's xxhash64 over Arrow data: the hash of a row and its place, the same in both engines.

A column's hash is xxhash64(value) with Spark's seed 42, and 42 for null; the row's is xxhash64 of
the columns' hashes in the order of their names. Equal rows have equal hashes, and which these are
does not depend on the order of rows or columns.

A row's place in the random order is xxhash64 of the row's hash, its occurrence number among equal
rows (from 0), and the user's seed: equal rows lie apart, and who got which number cannot be seen.
https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; Spark: XXH64.java.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ...dataset.buffers import array_of, flags_of, there, values_of
from ..expressions.spark_dialect import SPARK
from .frame import HASH, Longs

_SEED = 42
# What makes a double one of 30 bits: Dekker, A floating-point technique for extending the available
# precision, 1971.
_SHORTER = 2.0**23 + 1
# Values that are hashed at a time: the numbers in work fit the processor's cache.
_AT_ONCE = 65_536
_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def spark_hash(columns: Collection[str], computed: Collection[str] = ()) -> str:
    """A row's hash in Spark SQL; ``computed``: doubles of which only the leading 30 bits count."""
    values = []
    for name in sorted(columns):
        value = SPARK.ident(name)
        if name in computed:
            large = f"({value} * {_SHORTER!r}D)"
            value = f"nanvl({large} - ({large} - {value}), {value})"
        values.append(f"xxhash64({value})")
    return f"xxhash64({', '.join(values)})"


def spark_place(occurrence: str, seed: int) -> str:
    """A row's place in Spark SQL; ``occurrence``: SQL of its occurrence number."""
    return f"xxhash64({HASH}, CAST({occurrence} AS BIGINT), {SPARK.literal(seed, 'bigint')})"


def spark_group(keys: Collection[str], seed: int) -> str:
    """A group's place in Spark SQL."""
    return f"xxhash64({spark_hash(keys)}, {SPARK.literal(seed, 'bigint')})"


def hash_rows(batch: pa.RecordBatch, computed: bool = False) -> Longs:
    """The hash of every row of a batch of our column types; of doubles that were ``computed`` only
    the leading 30 bits count."""
    rows = np.full(batch.num_rows, _SEED, dtype=np.uint64)
    columns = sorted(zip(batch.schema.names, batch.columns, strict=True))
    # Many short columns are hashed at once.
    width = max(1, _AT_ONCE // max(1, batch.num_rows))
    for start in range(0, len(columns), width):
        for hashes in _hash_columns(
            [column for _, column in columns[start : start + width]], computed
        ):
            rows = _hash_long(hashes, rows)
    return rows.view(np.int64)


def place(hashes: Any, numbers: Any, seeds: Any) -> pa.Array:
    """The place of every row by its hash, its occurrence number and the seed, all of 64 bits."""
    found: Any = np.uint64(_SEED)
    for column in (hashes, numbers, seeds):
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        found = _hash_long(values_of(column, np.uint64), found)
    return array_of(found.view(np.int64))


def hashes_of(places: Longs, seed: int) -> Longs:
    """The way back from ``place``: the hashes of rows that are the first of their equals."""
    found = _seed_of(places.view(np.uint64), np.uint64(np.int64(seed).view(np.uint64)))
    found = _seed_of(found, np.uint64(0))
    # As of ``_hash_long(hash, 42)``.
    with np.errstate(over="ignore"):
        value = _unfinished(found) ^ (np.uint64(_SEED) + _P5 + np.uint64(8))
        return (_rotate(value * _inverse(_P1), 33) * _inverse(_P2)).view(np.int64)


def group_places(hashes: Longs, seed: int) -> Longs:
    """The place of every row's group by the hash of its keys."""
    found = _hash_long(hashes.view(np.uint64), np.uint64(_SEED))
    return _hash_long(np.uint64(seed), found).view(np.int64)


def _hash_columns(columns: Sequence[pa.Array], computed: bool) -> Iterable[Hashes]:
    """The hashes of each column's values."""
    found: list[Any] = [None] * len(columns)
    longs: list[int] = []
    for place, column in enumerate(columns):
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found[place] = _hash_strings(column)
        elif pa.types.is_boolean(kind):
            found[place] = _hash_int(flags_of(column).astype(np.uint64))
        elif pa.types.is_date32(kind):
            found[place] = _hash_int(values_of(column, np.uint32).astype(np.uint64))
        else:
            found[place] = values_of(column, np.uint64)
            if computed and pa.types.is_float64(kind):
                found[place] = _shortened(found[place].view(np.float64)).view(np.uint64)
            longs.append(place)
    if longs:
        # A double is never -0.0 or NaN here: their bits would need care.
        hashes = _hash_long(np.stack([found[place] for place in longs]), np.uint64(_SEED))
        for place, row in zip(longs, hashes, strict=True):
            found[place] = row
    for hashes, column in zip(found, columns, strict=True):
        if column.null_count:
            hashes[~there(column)] = _SEED
    return found


def _shortened(doubles: Any) -> Any:
    with np.errstate(all="ignore"):
        shorter = doubles * _SHORTER - (doubles * _SHORTER - doubles)
    return np.where(np.isnan(shorter), doubles, shorter)


def _hash_strings(column: pa.Array) -> Hashes:
    # Each distinct text once: most text columns are categories.
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    digest = xxhash.xxh64_intdigest
    hashes = np.array(
        [_SEED if text is None else digest(text, _SEED) for text in _texts(encoded.dictionary)],
        dtype=np.uint64,
    )
    places = values_of(encoded.indices, np.int32)
    return hashes[places] if len(hashes) else np.empty(0, dtype=np.uint64)


def _texts(values: pa.Array) -> list[bytes | None]:
    return values.cast(pa.large_binary()).to_pylist()


def _hash_long(value: Any, seed: Any) -> Hashes:
    with np.errstate(over="ignore"):
        result = seed + (_P5 + np.uint64(8))
        result = result ^ (_rotate(value * _P2, 31) * _P1)
        return _finish(_rotate(result, 27) * _P1 + _P4)


def _seed_of(found: Hashes, value: Any) -> Hashes:
    """The seed with which ``_hash_long`` has found this of a value."""
    with np.errstate(over="ignore"):
        result = _unfinished(found) ^ (_rotate(value * _P2, 31) * _P1)
        return result - (_P5 + np.uint64(8))


def _unfinished(value: Hashes) -> Hashes:
    """What ``_hash_long`` has before its last line."""
    with np.errstate(over="ignore"):
        value = value ^ (value >> np.uint64(32))
        value = value * _inverse(_P3)
        value = value ^ (value >> np.uint64(29)) ^ (value >> np.uint64(58))
        value = value * _inverse(_P2)
        value = value ^ (value >> np.uint64(33))
        return _rotate((value - _P4) * _inverse(_P1), 37)


def _inverse(factor: Any) -> Any:
    """By which a product is divided, modulo 2**64."""
    return np.uint64(pow(int(factor), -1, 2**64))


def _hash_int(value: Hashes) -> Hashes:
    """``value``: 32 bits, zero-extended."""
    with np.errstate(over="ignore"):
        result = (np.uint64(_SEED) + _P5 + np.uint64(4)) ^ (value * _P1)
        return _finish(_rotate(result, 23) * _P2 + _P3)


def _rotate(value: Any, bits: int) -> Any:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


def _finish(value: Any) -> Any:
    value = value ^ (value >> np.uint64(33))
    value = value * _P2
    value = value ^ (value >> np.uint64(29))
    value = value * _P3
    return value ^ (value >> np.uint64(32))
