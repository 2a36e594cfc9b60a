"""Manifests made by chance, in clusters where some things go wrong: each is refused in words, or
comes to an end that says why."""

from __future__ import annotations

import pytest

from tests.faults.manifests import tried

# `make faults` tries a hundred thousand.
SEEDS = 400


@pytest.mark.parametrize("part", range(4))
def test_each_is_refused_or_comes_to_an_end(part: int) -> None:
    found, wrong = tried(range(part * SEEDS // 4, (part + 1) * SEEDS // 4))
    assert not wrong, "\n".join(wrong)
    assert found["refused"] and found["Succeeded"], found
