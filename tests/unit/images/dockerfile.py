"""As much of a Dockerfile as our rules look at."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True)
class Instruction:
    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """Of the exec form, or of the shell form; options are words, too."""
        return json.loads(self.value) if self.is_exec else shlex.split(self.value)

    @property
    def is_exec(self) -> bool:
        return self.value.startswith("[")

    @property
    def options(self) -> list[str]:
        return list(takewhile(lambda word: word.startswith("--"), self.words))

    @property
    def pairs(self) -> dict[str, str]:
        """Of ARG, ENV and LABEL."""
        return dict(word.partition("=")[::2] for word in self.words)


@dataclass(frozen=True)
class Dockerfile:
    text: str

    @property
    def instructions(self) -> list[Instruction]:
        lines = [line for line in self.text.splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        found = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
        return [Instruction(name.upper(), value.strip()) for name, _, value in found]

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]

    @property
    def final(self) -> list[Instruction]:
        """The last stage: what becomes the image."""
        starts = [i for i, one in enumerate(self.instructions) if one.name == "FROM"]
        return self.instructions[starts[-1] :]

    def last(self, name: str) -> Instruction | None:
        """Of the last stage."""
        return next((one for one in reversed(self.final) if one.name == name), None)

    def pairs(self, name: str) -> dict[str, str]:
        """Of all ENV or LABEL instructions of the last stage."""
        found: dict[str, str] = {}
        for one in self.final:
            if one.name == name:
                found |= one.pairs
        return found
