"""The columns that a name means: itself, those of a pattern, those that a list has become."""

from __future__ import annotations

import re
from collections.abc import Collection

# Any part of a name, in a pattern.
ANY = "*"


def meant(name: str, columns: Collection[str]) -> list[str]:
    """The columns that ``name``, of task.features, stands for, in their order; none for a name
    that is none of them."""
    if name in columns:
        return [name]
    if ANY in name:
        return [column for column in columns if matches(name, column)]
    found = parts(name, columns)
    places = {f"{name}_{place}" for place in range(len(found))}
    return found if all(one in places or one[len(name)] == "." for one in found) else []


def parts(name: str, columns: Collection[str]) -> list[str]:
    """What looks like parts of a list or an object of this name."""
    part = re.compile(re.escape(name) + r"(\..+|_\d+)", re.S)
    return [column for column in columns if part.fullmatch(column)]


def matches(pattern: str, name: str) -> bool:
    """Whether a name is as a pattern says. No regular expression: time is linear."""
    first, *middle = pattern.split(ANY)
    if not middle:
        return pattern == name
    *middle, last = middle
    if len(name) < len(first) + len(last):
        return False
    if not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
