"""How a place in a manifest, and a value found there, are written for people."""

from __future__ import annotations

import json
import re
from typing import Any

from .printable import escaped

Path = tuple[int | str, ...]

ROOT = "manifest"
_LONGEST = 60
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def field_path(path: Path) -> str:
    """``spec.preprocess.steps[2].fillna``, ``limits[nvidia.com/gpu]``; never empty."""
    text = ""
    for part in path:
        if isinstance(part, str) and _PLAIN.fullmatch(part) and len(part) <= _LONGEST:
            text += f".{part}"
        else:
            text += f"[{part if isinstance(part, int) else shown(part)[1:-1]}]"
    return text.removeprefix(".") or ROOT


def shown(value: object) -> str:
    """A value as JSON, cut after 60 characters: manifests may hold what should not be repeated."""
    text = escaped(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2] + '…"'


def plain_number(value: Any) -> Any:
    """2.0 as 2, as JSON and people have it; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
