"""Which file a row goes to: by the leading bits of its hash, so that every file is a range of
hashes and rows lie in the order of their hash across files."""

from __future__ import annotations

from .frame import HASH, MAX_FILE_BITS, ROWS_PER_FILE


def file_bits(rows: int) -> int:
    """The number of leading bits: two to its power is the smallest sufficient number of files."""
    bits = 0
    while bits < MAX_FILE_BITS and rows > ROWS_PER_FILE << bits:
        bits += 1
    return bits


def file_of_hash(bits: int) -> str:
    """The leading bits of HASH (signed) as a number from 0, in the order of hashes."""
    if bits == 0:
        return "0"
    return f"(({HASH} >> {64 - bits}) + {1 << (bits - 1)})"
