"""What pip's requirements say: their text with all that they include, and their options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..base.errors import StageFailure

_MOST_BYTES = 2**20
_MOST_FILES = 50
# pip looks for comments, in lines put together, in the square of the blanks in a row.
_MOST_BLANKS = 500
_BLANKS = re.compile(r"[^\S\n]+")
_CONTINUED = re.compile(r"\\\n\s*")
# pip's own asks for all blanks before it, which takes the square of their number.
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_INCLUDES = re.compile(r"^(?:-r|--requirement|-c|--constraint)[ =]?\s*(?P<file>\S.*)$")
# The algorithms that pip takes.
_HASH = re.compile(r"\s--hash[ =]\s*((?:sha256|sha384|sha512):[0-9A-Fa-f]+)")
# The code itself, and what lies beside it: importable where it runs, and no wheel.
_OF_CODE = re.compile(r"^(?:-e|--editable)\b|^\.{0,2}/|^\.$|^file:|@\s*file:", re.IGNORECASE)


@dataclass
class Requirements:
    """``text`` is all that counts, ``options`` are those of pip that stand in it."""

    path: Path
    text: str = ""
    options: list[str] = field(default_factory=list)

    @property
    def hashes(self) -> frozenset[str]:
        """``sha256:HEX`` and the like of what may be installed; empty where that is not said."""
        found = (_HASH.findall(line) for line in _lines(self.text))
        return frozenset(value.lower() for values in found for value in values)


def of_packages(packages: list[str], folder: Path) -> Requirements:
    """Those of a list, written into ``folder``."""
    path = folder / "requirements.txt"
    path.write_text("\n".join([*packages, ""]), encoding="utf-8")
    return Requirements(path, path.read_text(encoding="utf-8"))


def of_file(path: Path, root: Path) -> Requirements:
    """Those of a file of the code, which lies in ``root``; so must what it includes.

    Raises StageFailure(PackagesInvalid)."""
    found = Requirements(path)
    waiting, seen = [path], set[Path]()
    while waiting:
        one = waiting.pop()
        name = _inside(one, root)
        if one in seen:
            continue
        seen.add(one)
        try:
            text = one.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise StageFailure("PackagesInvalid", f"the code has no file {name}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise StageFailure("PackagesInvalid", f"cannot read {name}: {error}") from error
        found.text += f"{text}\n"
        if len(seen) > _MOST_FILES or len(found.text) > _MOST_BYTES:
            words = f"{name}: more than {_MOST_FILES} files or {_MOST_BYTES // 2**20} MiB of them"
            raise StageFailure("PackagesInvalid", words)
        runs = _BLANKS.findall(text.replace("\\\n", ""))
        if (longest := max(map(len, runs), default=0)) > _MOST_BLANKS:
            words = f"{name}: {longest} blanks in a row, of which {_MOST_BLANKS} are the most"
            raise StageFailure("PackagesInvalid", words)
        for line in _lines(text):
            if _OF_CODE.search(line):
                words = f"{name}: {line[:200]}: code that lies beside it is no package: leave the "
                words += "line out, files import each other where they run, and those of another "
                raise StageFailure(
                    "PackagesInvalid",
                    f"{words}folder, such as src, by PYTHONPATH of the stage's env",
                )
            if (included := _INCLUDES.match(line)) is not None:
                waiting.append(one.parent / included["file"])
            elif line.startswith("-"):
                found.options.append(line)
    return found


def _inside(path: Path, root: Path) -> str:
    """How the file is called in the code. Raises StageFailure when it is not in it."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise StageFailure("PackagesInvalid", f"{path.name} does not lie in the code")
    return path.resolve().relative_to(root.resolve()).as_posix()


def _lines(text: str) -> Iterator[str]:
    """The lines as pip reads them: put together, without comments and blanks around them."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        if stripped := _COMMENT.sub("", line).strip():
            yield stripped
