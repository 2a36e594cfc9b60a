"""Files that are written whole or not at all, and files that others may still be writing."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import LocalError, Refused


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write aside and rename. ``durable`` survives a power cut, for a few milliseconds.

    Raises LocalError, naming the file.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True, mode: int = 0o666) -> None:
    """As ``write_json``, for text; ``mode`` is that of the file, less the umask."""
    aside = path.with_name(f"{path.name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(aside, flags, mode), "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """The value, None when there is no such file. Raises ValueError when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def require_text(path: object) -> None:
    """Raises Refused for a path with bytes that are not UTF-8, as old systems have left them."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(str(path)).decode(errors="replace")
        raise Refused(f"{name}: the path is not UTF-8: rename the folder or the file") from None


def tail(path: Path, limit: int) -> str:
    """The last ``limit`` bytes of a regular file as text; "" when there is nothing to read."""
    try:
        # Not blocking: whoever runs in the pod may have put a FIFO there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return ""
        file.seek(max(0, about.st_size - limit))
        return file.read(limit).decode(errors="replace")


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 with microseconds: which rank failed first is often a matter of milliseconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
