"""The tokenizer in a model's folder, by the names that Hugging Face has for its files.

Somebody else may have made it: it runs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import templates, tokenizing
from .folder import TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, is_there

# The largest that people have are of 35 MB, and a template of 20 kB.
_MOST_BYTES = 128 * 2**20
_MOST_TEMPLATE = 2**20


class Tokenizer:
    """``end``: the number of the token at the end of a text, where the files do not name one;
    ``template``: of conversations; ``special``: tokens by the names that templates use; ``added``:
    special tokens by their numbers.

    Raises OSError, ValueError in words, bounded.TooMuch, bounded.Refused."""

    def __init__(self, folder: Path, end: int | None = None) -> None:
        self.template, named = templates.of_config(_config(folder))
        if is_there(folder, TEMPLATE):
            self.template = _read(folder, TEMPLATE, _MOST_TEMPLATE)
        if not is_there(folder, TOKENIZER):
            raise ValueError(f"there is no {TOKENIZER}")
        self._bounded = tokenizing.Bounded(_read(folder, TOKENIZER), threads=1)
        try:
            added = self._bounded.known().added
            self.added = {number: name for name, (number, special) in added.items() if special}
            ends = [self.added[end]] if end in self.added else [*self.added.values()]
            # A config may have another's number: the only special token there is ends a text.
            of_end = {"eos_token": ends[0]} if len(ends) == 1 else {}
            self.special = of_end | named
            name = self.special.get("eos_token")
            #: The number of the token at the end of a text.
            self.end = end if name is None else self._bounded.number(name)
        except BaseException:
            self.close()
            raise

    def encode(self, text: str, *, special: bool) -> list[int]:
        """As ``Bounded.encode``."""
        (ids,) = self._bounded.encode([text], special=special).ids.to_pylist()
        return list(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """As ``Bounded.decode``."""
        return self._bounded.decode(ids)

    def close(self) -> None:
        """End the process."""
        self._bounded.close()


def _config(folder: Path) -> dict[str, Any]:
    there = is_there(folder, TOKENIZER_CONFIG)
    try:
        found = json.loads(_read(folder, TOKENIZER_CONFIG)) if there else {}
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{TOKENIZER_CONFIG} is damaged")
    return found


def _read(folder: Path, name: str, most: int = _MOST_BYTES) -> str:
    if (size := (folder / name).stat().st_size) > most:
        raise ValueError(f"{name} has {size} bytes, more than any: {most} at most")
    return (folder / name).read_text(encoding="utf-8")
