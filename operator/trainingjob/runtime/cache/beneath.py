"""Files below a folder to which others write, too."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Without the last one, opening a named pipe waits for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Beneath:
    """Copies plain files from below ``root``, and nothing else.

    A link could lead to the environment of this very process, a device could have no end. ``root``
    itself may be reached by links. Names are relative to ``folder``. Its methods raise OSError, and
    ValueError for what is no plain file or lies elsewhere.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder.relative_to(root)

    def copy(self, name: str, target: Path) -> None:
        """Copy a file."""
        parent, last = self._parent(name)
        try:
            with os.fdopen(_open(last, _FILE, parent, name), "rb") as source:
                if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                    raise ValueError(f"{name} is no plain file")
                with target.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
        finally:
            os.close(parent)

    def files(self) -> list[str]:
        """Everything below the folder, as names for ``copy``."""
        found = []
        top = self._open_folder(self._folder.parts)
        try:
            for folder, folders, files, here in os.fwalk(".", dir_fd=top):
                for name in [*files, *folders]:
                    mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
                    path = Path(folder, name).as_posix()
                    if stat.S_ISREG(mode):
                        found.append(path)
                    elif not stat.S_ISDIR(mode):
                        raise ValueError(f"{path} is no plain file")
        finally:
            os.close(top)
        return sorted(found)

    def _parent(self, name: str) -> tuple[int, str]:
        *above, last = Path(name).parts
        return self._open_folder((*self._folder.parts, *above)), last

    def _open_folder(self, parts: tuple[str, ...]) -> int:
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts:
            try:
                below = _open(part, _FOLDER, here, "/".join(parts))
            finally:
                os.close(here)
            here = below
        return here


def _open(part: str, flags: int, folder: int, name: str) -> int:
    if part == "..":
        raise ValueError(f"{name} leads out of its folder")
    try:
        return os.open(part, flags, dir_fd=folder)
    except OSError as error:
        with suppress(OSError):
            if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                raise ValueError(f"{name} is or goes through a link") from error
        if error.errno == errno.ENXIO:  # a socket
            raise ValueError(f"{name} is no plain file") from error
        raise
