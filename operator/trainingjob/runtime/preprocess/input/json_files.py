"""JSON files, looked at without an engine: how they are written, and what is wrong in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...base.errors import StageFailure
from ...base.text import listed
from ..engines.frame import JsonForm
from .called import field
from .files import Source, check_utf8, readable
from .packing import open_bytes

# Up to this size a file is parsed whole to find what is wrong in it.
_MOST_PARSED = 64 * 2**20

# How much of an array is looked at for its first object.
_MOST_OF_FIRST = 16 * 2**20


def form_of(file: Path) -> JsonForm:
    """How the objects stand in a file. Raises StageFailure(InputUnreadable)."""
    with readable(file), open_bytes(file) as stream:
        start = stream.read(4096)
        while start and not start.strip():
            start = stream.read(4096)
    return "array" if start.lstrip().startswith(b"[") else "lines"


def first_object(forms: Mapping[Path, JsonForm]) -> dict[str, Any]:
    """The first object, as far as it can be found: its keys give the order of the columns."""
    for file, form in forms.items():
        with suppress(ValueError, RecursionError), readable(file), open_bytes(file) as stream:
            if form == "lines":
                line = next((line for line in stream if line.strip()), b"")
                value = json.loads(line) if line else None
            else:
                text = stream.read(_MOST_OF_FIRST).decode(errors="ignore")
                start = text.index("{")
                value, _ = json.JSONDecoder().raw_decode(text, start)
            if isinstance(value, dict):
                return value
    return {}


def check_json(source: Source, forms: Mapping[Path, JsonForm]) -> None:
    """Raises StageFailure(InputNotUtf8, InputMalformed) for the first line that is not an object,
    and of arrays for the first element; large arrays are not looked at."""
    for file in source.files:
        check_utf8(file)
        if forms[file] == "lines":
            _check_lines(file)
        elif (value := _parsed(file)) is not None:
            for number, element in enumerate(value, 1):
                if not isinstance(element, dict):
                    message = (
                        f"{file}, element {number} of the array: not an object; write one object a "
                        "row, as pandas does with to_json(PATH, orient='records')"
                    )
                    raise StageFailure("InputMalformed", message)


def _check_lines(file: Path) -> None:
    with readable(file), open_bytes(file) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = _loads(line)
            except ValueError as error:
                words = _words(error) or f"{_said(error)}{_pretty(file, number, line)}"
                message = f"{file}, line {number}: {words}"
                raise StageFailure("InputMalformed", message) from error
            if not isinstance(value, dict):
                raise StageFailure("InputMalformed", f"{file}, line {number}: not an object")


def _said(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _words(error: ValueError) -> str:
    """What is wrong and what to do, where it is what people often write; else nothing."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    before, rest = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if error.msg == "Extra data" and rest.startswith("[") and before.endswith("]"):
        return (
            "another array stands behind the first: write one array of objects, or one object a "
            "line, as pandas does with to_json(PATH, orient='records', lines=True)"
        )
    if error.msg == "Extra data" and rest.strip() == ",":
        return "a comma stands behind the object: remove it, or put all of them between [ and ]"
    if (before.endswith(",") and rest.startswith(("}", "]"))) or re.match(r",\s*[]}]", rest):
        return "a comma stands behind the last element: remove it"
    if rest.startswith("'"):
        return "texts have single quotes: write the file with json.dumps(…), not with str(…)"
    if found := re.match("None|True|False", rest):
        return f"{found[0]} is Python's: write the file with json.dumps(…), not with str(…)"
    if re.match(r"\w+\s*:", rest):
        return "keys have no quotes: write the file with json.dumps(…)"
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments: remove this one"
    return ""


def _pretty(file: Path, number: int, line: bytes) -> str:
    """What to do about a file that is one object over several lines, or no JSON."""
    if number > 1:
        return ""
    if not line.lstrip().startswith((b"{", b"[")):
        return f": the file is no JSON; a table of texts is {field('format')} csv"
    with suppress(StageFailure):
        value = _parsed(file)
        if isinstance(value, dict):
            lists = [key for key, inner in value.items() if isinstance(inner, list)]
            rows = f" (its rows may be those of {listed(lists)})" if lists else ""
            return (
                f": the file is one object over several lines{rows}; write one object a line, or "
                "one array of objects"
            )
    return "; write one object a line, or one array of objects"


def _parsed(file: Path) -> Any:
    """What a file is as a whole; None for a large one. Raises StageFailure(InputMalformed)."""
    if file.stat().st_size > _MOST_PARSED:
        return None
    with readable(file), open_bytes(file) as stream:
        text = stream.read(_MOST_PARSED + 1)
    if len(text) > _MOST_PARSED:
        return None
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        message = f"{file}, line {error.lineno}: {_words(error) or error.msg}"
        raise StageFailure("InputMalformed", message) from error
    except ValueError as error:
        raise StageFailure("InputMalformed", f"{file}: {error}") from error


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("lists or objects in each other, deeper than can be read") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON: write null for it, as pandas' to_json(…) does")
