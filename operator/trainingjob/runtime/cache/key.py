"""The key under which a stage's result is kept: a digest of all that its outcome depends on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trainingjob
from trainingjob.api.payload import PreprocessPayload, TrainPayload

from ..base.digest import digest_of

Cacheable = PreprocessPayload | TrainPayload

# Raised when equal keys no longer mean equal results.
FORMAT = 1

# Of a payload, all counts but this.
UNCOUNTED = frozenset(
    {
        # Whose run it is, and where it writes.
        "job",
        "attempt",
        "output",
        "checkpoints",
        "model_uri",
        # By these a model is judged, and not trained.
        "metrics",
        "threshold",
        "accepted",
        # Looked at beforehand; its tokenizer counts.
        "pretrained",
        # Counted by what it holds: see inputs.py.
        "script",
        "code",
        "dataset",
        # How Spark comes by its executors: it names the job, and changes no rows.
        "kubernetes",
        # Counted by its conditions.
        "cache",
    }
)


def key_of(payload: Cacheable, inputs: Mapping[str, str], packages: Sequence[str]) -> str:
    """64 hex digits. ``inputs``: digests of what the stage reads, by name."""
    counted = {
        "format": FORMAT,
        "trainingjob": trainingjob.__version__,
        "packages": list(packages),
        "payload": payload.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude={**dict.fromkeys(UNCOUNTED, True), "task": {"positive_class"}},
        ),
        "conditions": payload.cache.conditions if payload.cache else "",
        "inputs": dict(inputs),
    }
    return digest_of(counted).removeprefix("sha256:")


def packages() -> list[str]:
    """Python, and what is installed: on one machine no image tells."""
    # The folders' names have the versions; importlib.metadata reads each file.
    found = {path.name for entry in sys.path for path in Path(entry).glob("*.dist-info")}
    return [sys.version, *sorted(found)]
