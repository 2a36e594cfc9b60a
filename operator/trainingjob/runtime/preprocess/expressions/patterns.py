"""Regular expressions that mean the same in Java and in RE2, which DuckDB uses."""

from __future__ import annotations

import re

_CLASS_SPACE = r" \t\n\x0B\f\r"  # Java's \s; RE2's lacks \x0B
_NOT_LINE_END = r"[^\n\r\x{85}\x{2028}\x{2029}]"  # Java's dot; RE2's stops at \n alone
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})\??")


def portable(pattern: str) -> tuple[str, str] | None:
    """The pattern for Java and for RE2; None when it uses what only one of them has, or what they
    take differently. ``$`` is the very end of the text in both."""
    java: list[str] = []
    re2: list[str] = []
    place = 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            escaped = _escape(pattern[place + 1 : place + 2], in_class=False)
            if escaped is None:
                return None
            java.append(pattern[place : place + 2])
            re2.append(escaped)
            place += 2
        elif char == "[":
            end = _class_end(pattern, place)
            translated = _class(pattern[place:end])
            if translated is None:
                return None
            java.append(pattern[place:end])
            re2.append(translated)
            place = end
        elif char in "*+?{":
            found = _QUANTIFIER.match(pattern, place)
            if found is None or pattern[found.end() : found.end() + 1] in ("+", "*", "?", "{"):
                return None
            java.append(found.group())
            re2.append(found.group())
            place = found.end()
        elif char == "(" and pattern.startswith("(?", place):
            if not pattern.startswith("(?:", place):
                return None
            java.append("(?:")
            re2.append("(?:")
            place += 3
        else:
            java.append({"$": r"\z"}.get(char, char))
            re2.append({"$": r"\z", ".": _NOT_LINE_END}.get(char, char))
            place += 1
    try:
        re.compile(pattern)
    except re.error:
        return None
    return "".join(java), "".join(re2)


def matches_nothing(pattern: str) -> bool:
    """Whether an empty text matches, at which replacing differs."""
    return re.search(pattern, "") is not None


def _escape(char: str, *, in_class: bool) -> str | None:
    if char == "s":
        return _CLASS_SPACE if in_class else f"[{_CLASS_SPACE}]"
    if char == "S" and not in_class:
        return f"[^{_CLASS_SPACE}]"
    if char in ("d", "w", "t", "n", "r") or (char in ("D", "W") and not in_class):
        return "\\" + char
    if char and char.isascii() and not char.isalnum() and char.isprintable():
        return "\\" + char
    return None


def _class_end(pattern: str, start: int) -> int:
    place = start + 1
    while place < len(pattern) and pattern[place] != "]":
        place += 2 if pattern[place] == "\\" else 1
    return place + 1


def _class(text: str) -> str | None:
    body = text[1:-1]
    if not text.endswith("]") or body in ("", "^") or "[" in body or "&&" in body:
        return None
    parts = []
    place = 0
    while place < len(body):
        if body[place] == "\\":
            escaped = _escape(body[place + 1 : place + 2], in_class=True)
            if escaped is None:
                return None
            parts.append(escaped)
            place += 2
        else:
            parts.append(body[place])
            place += 1
    return f"[{''.join(parts)}]"
