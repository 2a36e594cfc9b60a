"""How the folder of an accepted model is called, which operator and pods both have to know."""

from __future__ import annotations

import hashlib
import json

from .v1alpha1.job import Task

_CHARS = 8


def short(digest: str) -> str:
    """A sha256 for people: its first twelve digits."""
    return digest.removeprefix("sha256:")[:12]


def folder_name(model: str, dataset: str, task: Task, threshold: float | None) -> str:
    """The same files are another model with other steps before them, or when they decide in another
    way: digests of the ``model`` and of the ``dataset`` that it was judged on, and what was judged.
    """
    decided = {"dataset": dataset, "task": task.to_dict(), "threshold": threshold}
    text = json.dumps(decided, sort_keys=True)
    return f"{short(model)}-{hashlib.sha256(text.encode()).hexdigest()[:_CHARS]}"
