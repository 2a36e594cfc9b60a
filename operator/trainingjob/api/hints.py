"""What to do about a fault of a manifest, where its place and kind tell it: the end of a message.

Values of text fields may be secrets, and are not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_origin

from .paths import Path, field_path, shown
from .walk import child_type, fields_of, is_model, plain_type

# Whose names fit into a line.
_FEW = 8


def of_type(kind: Any, wanted: list[str], given: object) -> str:
    """About a value of another type than those ``wanted``, in words; ``kind``: what is there."""
    if "a string" in wanted and isinstance(given, bool | int | float):
        return ": put it in quotes"
    if isinstance(given, str):
        number = _number(given)
        if number is not None and {"a number", "an integer"} & {*wanted}:
            return ": remove the quotes"
        if "a number" in wanted and (percent := _number(given.removesuffix("%"))) is not None:
            return f": write {percent / 100:g}"
        if "true or false" in wanted and given.lower() in ("true", "false"):
            return ": remove the quotes"
    if wanted == ["a list"]:
        if isinstance(given, dict):
            return ': begin each item with "- "'
        return f": write [{given}]" if type(given) in (int, float) else ": write it as [a, b]"
    if wanted == ["an object"]:
        return _object(kind, given)
    return ""


def _object(kind: Any, given: object) -> str:
    if isinstance(given, list):
        return ': leave out the "- " before its fields' if len(given) == 1 else ""
    names = [*fields_of(kind)]
    if isinstance(given, str) and given in names:
        return f': write "{given}: {{}}"'
    return f": its fields are {', '.join(names)}" if 0 < len(names) <= _FEW else ""


def of_field(model: Any, path: Path) -> str:
    """About a field that is not known at its place, and is at another one near by, or where there
    are only a few; "" else."""
    name, above = str(path[-1]), path[:-1]
    if name.isdecimal():
        return f": a number has a point and no comma, as 0.{name}"
    for length in range(len(above), -1, -1):
        place = above[:length]
        fields = fields_of(_type_at(model, place))
        if name in fields and length < len(above):
            return f": it belongs to {field_path(place)}, and is indented as its other fields are"
        below = [one for one, kind in fields.items() if name in fields_of(kind)]
        below = [one for one in below if (*place, one) != above]
        if len(below) == 1:
            where = field_path((*place, below[0]))
            return f": it belongs to {where}, and is indented below that"
    return ""


def few_fields(kind: Any) -> str:
    """All fields there are, where these are few."""
    names = [*fields_of(kind)]
    return f"; there are {', '.join(names)}" if 1 < len(names) <= _FEW else ""


def of_choice(said: str, given: object) -> str:
    """About an object of which exactly one field must be set."""
    if not said.startswith("exactly one of ") or not isinstance(given, Mapping):
        return ""
    names = said.removeprefix("exactly one of ").removesuffix(" must be set").split(", ")
    found = [name for name in names if given.get(name) is not None]
    if len(found) > 1:
        return f", and {' and '.join(map(shown, found[:_FEW]))} are"
    return "; one without settings is written NAME: {}" if len(names) > _FEW else ""


def _type_at(kind: Any, path: Path) -> Any:
    for part in path:
        kind = child_type(kind, part)
    kind = plain_type(kind)
    return kind if is_model(kind) or get_origin(kind) else None


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None
