"""Inputs made of good ones by a few changes, so that what breaks a reader becomes a short one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

# Lengths, numbers, ends and signs at which readers have been seen to stumble.
ODD = (
    *(b"", b"\x00", b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\x80", b"\xed\xa0\x80"),
    *(b"-1", b"1e999", b"9" * 5000, b"NaN", b"null", b"{}", b"[" * 3000, b'{"a":' * 300),
    *(b"\\ud800", b"\x1b[2J", "\u202e".encode(), b'"', b"'", b"\r\n", b"\n", b",", b";", b"&a *a"),
    *(b"<<: *a", b"!!python/object:os.system x", b"../../etc/passwd", b"PK\x03\x04", b"PAR1"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**63, 2**64, 10**400, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x" * 5000, "\ud800", "\x00", "\x1b[2J", "..", "/", "9" * 50, [], [[]], {}, {"": {}}),
)


def inputs(good: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Changed good inputs, for the most part, and some of no kind at all."""
    change = st.tuples(
        st.sampled_from(("put", "cut", "over", "twice", "end")),
        st.integers(0, 2**16),
        st.integers(0, 64),
        st.one_of(st.sampled_from(ODD), st.binary(max_size=16)),
    )
    changed = st.builds(_changed, st.sampled_from(good), st.lists(change, min_size=1, max_size=4))
    trees = [tree for text in good if (tree := _tree(text)) is not None]
    if trees:
        values = st.one_of(st.sampled_from(VALUES), st.text(max_size=8), st.integers())
        places = st.lists(st.tuples(st.integers(0, 2**16), values), min_size=1, max_size=3)
        changed = st.one_of(changed, st.builds(_grafted, st.sampled_from(trees), places))
    return st.one_of(changed, changed, changed, st.binary(max_size=64))


def _changed(data: bytes, changes: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    for kind, where, length, piece in changes:
        at = where % (len(data) + 1)
        before, after = data[:at], data[at:]
        match kind:
            case "put":
                data = before + piece + after
            case "cut":
                data = before + after[length:]
            case "over":
                data = before + piece + after[len(piece) :]
            case "twice":
                data = before + after[:length] + after
            case _:
                data = before
    return data


def _tree(text: bytes) -> str | None:
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return None


def _grafted(tree: str, changes: Sequence[tuple[int, Any]]) -> bytes:
    """With other values at some places of the JSON."""
    value = [json.loads(tree)]
    for where, new in changes:
        places = [*_places(value)]
        holder, key = places[where % len(places)]
        holder[key] = new
    return json.dumps(value[0]).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in list(items):
        found.append((value, key))
        if isinstance(child, dict | list):
            found += _places(child)
    return found
