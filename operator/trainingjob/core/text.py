"""Text that pods and nodes send us, made fit for status, Events and terminals."""

from __future__ import annotations

from ..api.printable import escaped

__all__ = ["escaped", "line", "lines"]


def lines(text: str) -> str:
    """With its lines and tabs; a carriage return, as of a progress bar, ends a line."""
    return escaped(text.replace("\r\n", "\n").replace("\r", "\n"), keep="\n\t")


def line(text: str, most: int = 1000) -> str:
    """In one line of at most so many characters; what is beyond is cut off and marked."""
    found = escaped(" ".join(text.split()))
    return found if len(found) <= most else found[: most - 2].rstrip() + " …"
