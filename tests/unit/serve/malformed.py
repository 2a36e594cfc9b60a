"""Requests with something wrong in them, made by chance, and always the same ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

_ODD = [None, -1, 0, 1.5, True, "", "x", [], {}, [[]], {"a": []}, "9" * 50, 2**64, -1e308]


def bodies(asked: dict[str, Any], number: int) -> Iterator[bytes]:
    """Bodies of requests like ``asked``: a part of the value changed, or the text cut."""
    chance = random.Random(5)
    text = json.dumps(asked).encode()
    for one in range(number):
        if one % 2:
            yield json.dumps(_changed(chance, asked)).encode()
            continue
        at = chance.randrange(len(text))
        some = chance.choice([text[:at], text[at:], text[:at] + bytes([chance.randrange(256)])])
        yield some + text[at + 1 :] if chance.random() < 0.5 else some


def _changed(chance: random.Random, value: Any) -> Any:
    """A part of the value changed, anywhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice([*value])
        if chance.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _changed(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(chance, value[at]), *value[at + 1 :]]
    return chance.choice(_ODD)
