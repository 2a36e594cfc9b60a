"""How much of a manifest its pods can be given.

A stage's part of the spec travels in its pods, most of it in one environment variable, of which
Linux takes 128 KiB (MAX_ARG_STRLEN); and there may be a thousand pods. Every field has its bound;
this is the bound of their sum.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

from .v1alpha1 import Spec, StageName

# What the operator adds to it (names, URIs, Spark's settings) stays well below the rest.
MOST_BYTES = 100 * 1024
# Of variables in command and args, each of which may be as long as a ConfigMap: a kubelet puts them
# together.
MOST_REFERENCES = 256

_ELSEWHERE = {
    "features": "leave it unset, and drop the columns that are not to be learned from",
    "inline": "put it into a ConfigMap and name that in configMap",
    "env": "bring long values by envFrom",
    "steps": "do a part of it in a script, which can come from a ConfigMap",
    "command": "put it into the image or a script",
    "args": "put them into a file in the image or on a volume",
}


@dataclass(frozen=True)
class Excess:
    """What is too large: ``field`` is the largest part of it."""

    field: str
    message: str


def excess(spec: Spec) -> Excess | None:
    """The first stage whose pods would be given too much; None when all is well."""
    for stage in get_args(StageName):
        part = getattr(spec, stage)
        if part is None:
            continue
        if (many := _references(stage, part)) is not None:
            return many
        # Unset fields included: what is small by this is small for sure.
        if sum(len(m.model_dump_json().encode()) for m in (spec.task, part) if m) <= MOST_BYTES:
            continue
        given = {"task": spec.task.to_dict() if spec.task else {}, stage: part.to_dict()}
        total = _size(given)
        if total > MOST_BYTES:
            return _excess(stage, total, given)
    return None


def _references(stage: StageName, part: Any) -> Excess | None:
    for field in ("command", "args"):
        count = sum(word.count("$(") for word in getattr(part, field, None) or ())
        if count > MOST_REFERENCES:
            where = f"spec.{stage}.{field}"
            return Excess(
                where,
                f"{where} names {count} variables by $(NAME), and {MOST_REFERENCES} are the most: "
                "read them in the code",
            )
    return None


def _excess(stage: StageName, total: int, given: dict[str, Any]) -> Excess:
    path, value = ["spec"], given
    while isinstance(value, dict) and value:
        name, largest = max(value.items(), key=lambda item: _size(item[1]))
        if len(path) > 2 and _size(largest) < _size(value) / 2:
            break
        path.append(name)
        value = largest
    field = ".".join(path)
    remedy = next((_ELSEWHERE[name] for name in reversed(path) if name in _ELSEWHERE), "shorten it")
    return Excess(
        field,
        f"the pods of {stage} would be given {_kib(total)} KiB of the manifest, and "
        f"{_kib(MOST_BYTES)} KiB is the most; {_kib(_size(value))} KiB are {field}: {remedy}",
    )


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _kib(size: int) -> int:
    return -(-size // 1024)
