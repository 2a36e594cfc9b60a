"""Text of others, made fit for messages and terminals."""

from __future__ import annotations

import unicodedata

# Control and format characters (bidi overrides among them), lone surrogates, line and paragraph
# separators: what moves a cursor, reorders what stands there or breaks a line.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


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
