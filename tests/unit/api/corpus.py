"""The manifests of tests/corpus, and what an API server does to one before it checks it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainingjob.cli import manifest

ROOT = Path(__file__).parents[2] / "corpus"


@dataclass(frozen=True)
class Bad:
    """A manifest with one fault, and the head of its file: where, and words of the message."""

    obj: Any
    field: str
    error: str


def read(path: Path) -> Any:
    (document,) = manifest.read(str(path))
    return document.value


def read_bad(path: Path) -> Bad:
    head = dict(
        line.removeprefix("# ").split(": ", 1)
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("# ")
    )
    assert list(head) == ["field", "error"], f"{path.name} must begin with # field: and # error:"
    return Bad(read(path), head["field"], head["error"])


GOOD = {path.stem: read(path) for path in sorted((ROOT / "good").glob("*.yaml"))}
BAD = {path.stem: read_bad(path) for path in sorted((ROOT / "bad").glob("*.yaml"))}

each_good = pytest.mark.parametrize("name", GOOD)
each_bad = pytest.mark.parametrize("name", BAD)


def good(name: str) -> Any:
    """A copy that the test may change."""
    return copy.deepcopy(GOOD[name])


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """As the server stores it: nulls of known fields and of maps dropped, 2 for 2.0 where it is an
    integer, then defaults applied, outside in."""
    if isinstance(value, dict):
        fields, entry = schema.get("properties", {}), schema.get("additionalProperties")
        given = {k: v for k, v in value.items() if not (v is None and (k in fields or entry))}
        given = {k: f["default"] for k, f in fields.items() if "default" in f} | given
        return {k: defaulted(v, fields.get(k, entry or {})) for k, v in given.items()}
    if isinstance(value, list):
        return [defaulted(item, schema.get("items", {})) for item in value]
    integer = schema.get("type") == "integer" or "x-kubernetes-int-or-string" in schema
    return int(value) if integer and isinstance(value, float) and value.is_integer() else value
