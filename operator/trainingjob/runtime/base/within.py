"""Files below a folder to which others write, too: a link there may lead to what this pod alone
has, such as its token or its variables."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import NoReturn


def is_within(path: Path, folder: Path) -> bool:
    """Whether it lies below the folder, whatever links lead there."""
    return path.resolve().is_relative_to(folder.resolve())


def files_in(folder: Path) -> list[str]:
    """The files below it, by their names relative to it, in order; a link is one if it leads to a
    file below the folder. Raises OSError."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    found = []
    for root, _, names in os.walk(folder, onerror=refuse):
        for path in (Path(root, name) for name in names):
            if path.is_file() and (not path.is_symlink() or is_within(path, folder)):
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def content(path: Path, most: int) -> bytes:
    """What a small file has. Raises OSError, and ValueError for what is no plain file or has more
    than ``most`` bytes."""
    with opened(path) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"{path} has more than {most} bytes")
    return found


def opened(path: Path, *folders: Path) -> BufferedReader:
    """The file, to be read. Raises OSError, and ValueError for what is no plain file, or does not
    lie below all of the ``folders``, even when it came there a moment ago."""
    # Without the last flag, opening a named pipe waits for its writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is no plain file")
        if folders and not _lies_in(file.fileno(), folders):
            raise ValueError(f"{path} is or goes through a link that leads out of its folder")
    except BaseException:
        file.close()
        raise
    return file


def _lies_in(descriptor: int, folders: Sequence[Path]) -> bool:
    real = Path(f"/proc/self/fd/{descriptor}").readlink()
    return all(real.is_relative_to(folder.resolve()) for folder in folders)
