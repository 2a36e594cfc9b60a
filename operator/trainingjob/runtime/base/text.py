"""Pieces of messages."""

from __future__ import annotations

import re
from collections.abc import Collection

_SHOWN = 20
# Of a URL: its last @ before the path, for passwords have some. Azure's own have a container there.
_CREDENTIALS = re.compile(r"(?<!abfs)(?<!abfss)(?<!wasb)(?<!wasbs)://[^/?#\s\"'<>]+@")


def listed(names: Collection[str]) -> str:
    """``a, b, c``, cut when there are many."""
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names)} in all)"


def without_credentials(text: str) -> str:
    """The text without the user and the password of its URLs."""
    return _CREDENTIALS.sub("://", text)


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as ``limit`` characters have room for."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def one_line(error: object, limit: int = 300) -> str:
    """The first line of a library's error that has text: no stack of native code behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else text[:limit] + " …"


def size_in_words(size: int) -> str:
    """``950 B``, ``3.1 MB``, ``120 GB``."""
    power = next((n for n in range(4) if size < 999.5 * 1000**n), 4)
    value, unit = size / 1000**power, ("B", "kB", "MB", "GB", "TB")[power]
    return f"{value:.0f} {unit}" if power == 0 or value >= 9.95 else f"{value:.1f} {unit}"
