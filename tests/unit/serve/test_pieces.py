"""JSON that is read in pieces is what ``json.loads`` gives, and lets others run meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Never

import pytest

from trainingjob.runtime.serve import pieces

MOST = 10**6


def constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")


def read(text: str, most: int = MOST) -> Any:
    return pieces.loads(text, most, constant)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Anything that JSON has, with commas and brackets in its texts."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.randint(-(10**20), 10**20),
        lambda: chance.uniform(-1e9, 1e9),
        lambda: "".join(chance.choices(',"[]{}\\: \n東e', k=chance.randrange(12))),
    ]
    if depth < 4:
        kinds += [
            lambda: [value(chance, depth + 1) for _ in range(chance.randrange(9))],
            lambda: {str(i): value(chance, depth + 1) for i in range(chance.randrange(5))},
        ]
    return chance.choice(kinds)()


@pytest.mark.parametrize("size", [1, 7, 64, 16 * 2**10])
def test_whatever_json_has_is_read_as_the_library_reads_it(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_PIECE", size)
    for seed in range(150):
        chance = random.Random(seed)
        made = [value(chance) for _ in range(20)]
        for indent in (None, 1):
            text = json.dumps(made, indent=indent, ensure_ascii=seed % 2 == 0)
            assert read(text) == json.loads(text)


BROKEN = {
    "nothing": "",
    "an end that is missing": '{"a": [1, 2',
    "a comma too many": "[1, 2, ]",
    "a comma at the front": "[, 1]",
    "two commas": "[1,, 2]",
    "no comma": "[1 2]",
    "other brackets": "[1, 2}",
    "more behind it": "[1] 2",
    "a name without quotes": '{"a": 1, b: 2}',
    "a comma before the end of an object": '{"a": 1,}',
    "no colon": '{"a" 1}',
    "half a text": '["a, b", "c',
    "a control character": '["a\nb", 1]',
    "a number that is none": "[1, 01, 2]",
    "a bracket in a piece": "[1], [2]",
}


@pytest.mark.parametrize("size", [1, 7, 16 * 2**10])
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_refused_at_the_place_where_the_library_refuses_it(
    text: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_PIECE", size)
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as ours:
        read(text)
    # Of a comma too many, later versions of Python name the comma.
    assert abs(ours.value.pos - theirs.value.pos) <= 2


def test_each_broken_half_of_a_request_is_refused() -> None:
    text = '{"inputs": [{"name": "x, y", "data": [1, [2.5], null, "a, ]b"]}]}'
    for end in range(len(text)):
        with pytest.raises(json.JSONDecodeError):
            read(text[:end])


def test_brackets_in_each_other_end() -> None:
    with pytest.raises(RecursionError):
        read("[" * 100_000)
    with pytest.raises(RecursionError):
        read('{"a":' * 100_000)


def test_a_list_that_is_too_long_is_refused_before_its_values_are_there() -> None:
    assert len(read(f"[{'1,' * 9}1]", most=10)) == 10
    for one in ("1", "[]", '"a, b"'):
        with pytest.raises(pieces.TooLong, match="more than 10 values"):
            read(f'{{"a": [{f"{one}," * 10}{one}]}}', most=10)
