"""Requests are read by a fast reader, and what it refuses by Python's own, which says why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Never

import pytest

from tests.unit.serve.malformed import bodies
from tests.unit.serve.test_pieces import value
from trainingjob.runtime.serve import protocol

Read = Callable[[bytes], Any]

NUMBERS = [
    *("0", "-0", "-0.0", "1E5", "1e-7", "1e400", "-1e400", "1e-400", "0.1", "2.5e-324"),
    *("9007199254740993", "9007199254740993.0", "9223372036854775808", "9" * 300, "9" * 300 + ".5"),
    *("0." + "3" * 400, "179769313486231580793e289", "1." + "0" * 30 + "1", "9" * 5000),
    *("NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x1", "1_0", "0.1e", "--1"),
]
TEXTS = [
    *(rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\ude00\ud83d"', rb'"\u00e9\/\b"'),
    *(rb'"\x41"', rb'"\u12"', b'"a\tb"', b'"\x00"', b'"\xff"'),
    *(b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf4\x90\x80\x80"'),
    *("\ufeff1".encode(), "1".encode("utf-16"), b"1 // one", b"'a'", b"", b" "),
    *(b"[1,]", b'{"a":1,}', b'{"a": 1, "a": [2]}', b"{1: 2}"),
    *(b"[" * 150 + b"]" * 150, b"[" * 5000 + b"]" * 5000),
]


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Read:
    def refused(*_: Any, **__: Any) -> Never:
        raise ValueError

    def read(body: bytes) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(protocol, "from_json", refused)
            return protocol._json(body, 100)

    return read


def told(read: Read, body: bytes) -> str:
    """What was read, with all digits and types; or the words."""
    try:
        return f"{read(body)!r}"
    except protocol.BadRequest as error:
        return f"refused: {error}"


def test_both_readers_give_the_same_values_and_the_same_words(slowly: Read) -> None:
    chance = random.Random(3)
    made = [json.dumps(value(chance), ensure_ascii=n % 2 == 0).encode() for n in range(500)]
    floats = [repr(chance.uniform(-1, 1) * 10 ** chance.randint(-320, 308)) for _ in range(2000)]
    whole = {"inputs": [{"name": "x, é", "shape": [2], "data": [1.5, None]}], "id": "\U0001f600"}
    numbers = [f"[{one}]".encode() for one in (*NUMBERS, *floats)]
    refused = 0
    for body in [*made, *numbers, *TEXTS, *bodies(whole, 1000)]:
        found = told(lambda one: protocol._json(one, 100), body)
        assert found == told(slowly, body), body
        refused += found.startswith("refused")
    assert 300 < refused < 1000
