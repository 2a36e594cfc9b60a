"""``python -m trainingjob.runtime.base.reading FOLDER… -- COMMAND…``: run a command that may read
what this process may, and write below these folders alone.

By the kernel's Landlock, which needs no right of its own and holds for all that the command starts:
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH, _SET_NO_NEW_PRIVS = 1, 1, 38
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
# To remove folders and files, and to make whatever a folder can hold.
_OF_FOLDERS = sum(1 << bit for bit in range(4, 13))
# Devices, of which each has an owner, and what a process tells of itself; but not the file by which
# a pod tells what came of it.
_DEVICES, _PROCESSES, _RESULT = Path("/dev"), Path("/proc"), "termination-log"


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def command(folders: Sequence[Path], arguments: Sequence[str]) -> list[str]:
    """What to start, that ``arguments`` run so."""
    module = [sys.executable, "-P", "-m", "trainingjob.runtime.base.reading"]
    return [*module, *map(str, folders), "--", *arguments]


def possible() -> bool:
    """Whether the kernel can: it may be too old, or a pod may not ask it."""
    return _syscall(_CREATE_RULESET, None, 0, _VERSION) > 0


def restrict(folders: Iterable[Path]) -> None:
    """This process, for good. Raises OSError; where the kernel cannot, nothing happens."""
    version = _syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return
    files = _WRITE_FILE | (_TRUNCATE if version >= 3 else 0)
    handled = files | _OF_FOLDERS | (_REFER if version >= 2 else 0)
    asked = _Ruleset(handled)
    rules = _made(_syscall(_CREATE_RULESET, ctypes.byref(asked), ctypes.sizeof(asked), 0))
    devices = [p for p in _DEVICES.iterdir() if p.name != _RESULT and not p.is_symlink()]
    for path in [*folders, _PROCESSES, *devices]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # a device that has gone
            continue
        folder = stat.S_ISDIR(os.fstat(place).st_mode)
        rule = _Beneath(handled if folder else files, place)
        _made(_syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0))
        os.close(place)
    _made(_libc().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _made(_syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(*arguments: object) -> int:
    result: int = _libc().syscall(*arguments)
    return result


def _made(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel did not restrict the code")
    return result


def main() -> None:
    """Restrict, and become the command."""
    split = sys.argv.index("--")
    folders, arguments = sys.argv[1:split], sys.argv[split + 1 :]
    restrict(map(Path, folders))
    os.execvp(arguments[0], arguments)  # noqa: S606


if __name__ == "__main__":
    main()
