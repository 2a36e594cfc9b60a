"""The manifests of tests/corpus, and what an API server does to one before it checks it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.api.v1alpha1.predict import PredictInput
from trainingjob.api.v1alpha1.scheduling import ResourceClaim, TopologySpread
from trainingjob.api.v1alpha1.volumes import EphemeralVolume
from trainingjob.api.walk import child_type, is_model, plain_type
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


# Of what the operator alone checks: one that it takes, where text in the required fields is none.
STANDS_FOR: dict[Any, dict[str, Any]] = {
    PredictInput: {"uri": "pvc://a/b", "format": "csv"},
    EphemeralVolume: {"size": 1},
    ResourceClaim: {"name": "a", "resourceClaimName": "a"},
    TopologySpread: {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"},
}


def as_served(value: Any, kind: Any = TrainingJob) -> Any:
    """What an API server judges of a manifest: whatever is in what the operator alone checks, it
    takes."""
    kind = plain_type(kind)
    if is_model(kind) and kind.outlined and isinstance(value, dict):
        fields = kind.model_fields.items()
        plain = {field.alias or name: "a" for name, field in fields if field.is_required()}
        return dict(STANDS_FOR.get(kind, plain))
    if isinstance(value, dict):
        return {key: as_served(item, child_type(kind, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [as_served(item, child_type(kind, 0)) for item in value]
    return value


def in_annotation(definition: dict[str, Any]) -> bytes:
    """An object as kubectl apply writes it there, which is as Go does: without blanks, and safe
    within HTML."""
    written = json.dumps(definition, separators=(",", ":"), ensure_ascii=False)
    for sign in "&<>":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return written.encode()


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
