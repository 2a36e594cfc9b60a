"""How the classes of a label are written in a manifest. Without numpy: a launcher asks, too."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..base.errors import StageFailure
from ..base.text import listed

Value = bool | int | float | str


def written(value: Value) -> tuple[str, ...]:
    """How a class may be written as text: ``True`` or ``true``, ``1.0`` or ``1``."""
    names = [str(value)]
    if isinstance(value, bool):
        names.append(str(value).lower())
    elif isinstance(value, float) and value.is_integer():
        names.append(str(int(value)))
    return tuple(names)


def index_of(values: Sequence[Value], name: Value, field: str) -> int:
    """The id of the class that ``field`` of the manifest names.

    Raises StageFailure(SettingUnsuitable) when there is none."""
    for index, value in enumerate(values):
        if set(written(name)) & set(written(value)):
            return index
    near = difflib.get_close_matches(str(name), map(str, values), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if isinstance(name, bool) and any(isinstance(value, str) for value in values):
        hint = "; YAML takes a plain yes, no, on or off for a boolean: put it in quotes"
    raise StageFailure(
        "SettingUnsuitable",
        f"{field}: the label has no class {name}{hint} (classes: {listed([*map(str, values)])})",
    )
