"""Text that pods and nodes send us, made fit for status, Events and terminals."""

from __future__ import annotations

import unicodedata

# Control and format characters (bidi overrides among them), lone surrogates, line and paragraph
# separators: what moves a cursor, reorders what stands there or breaks a line.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def lines(text: str) -> str:
    """With its lines and tabs; a carriage return, as of a progress bar, ends a line."""
    return escaped(text.replace("\r\n", "\n").replace("\r", "\n"), keep="\n\t")


def line(text: str, most: int = 1000) -> str:
    """In one line of at most so many characters; what is beyond is cut off and marked."""
    found = escaped(" ".join(text.split()))
    return found if len(found) <= most else found[: most - 2].rstrip() + " …"


def escaped(text: str, keep: str = "") -> str:
    r"""As it is, but for what cannot be seen, which becomes ``\uXXXX``."""
    if text.isprintable():
        return text
    return "".join(
        f"\\u{ord(char):04x}"
        if char not in keep and unicodedata.category(char) in _UNPRINTABLE
        else char
        for char in text
    )
