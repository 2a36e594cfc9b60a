"""From documents to the one checked job that a command is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from ..api.errors import check_manifest
from ..api.v1alpha1 import KIND, TrainingJob
from .errors import UsageError
from .manifest import Document


def one_job(documents: Sequence[Document], namespace: str | None) -> tuple[Document, TrainingJob]:
    """The TrainingJob among the documents. Raises UsageError when there is not exactly one, or
    when it is not valid."""
    source = documents[0].source
    found = [document for document in documents if document.kind == KIND]
    if not found:
        raise UsageError(none_in(documents))
    if len(found) > 1:
        names = ", ".join(document.name for document in found)
        raise UsageError(f"{source}: {len(found)} TrainingJobs in it ({names}), must be one")
    job, problems = check(found[0], namespace)
    if job is None:
        raise UsageError("\n".join(problems))
    return found[0], job


def none_in(documents: Sequence[Document]) -> str:
    """What to say about documents without a TrainingJob."""
    kinds = sorted({document.kind for document in documents})
    near = [kind for kind in kinds if get_close_matches(kind.lower(), [KIND.lower()])]
    hint = f"; write kind: {KIND}" if near or "" in kinds else ""
    found = ", ".join(kind or "unknown" for kind in kinds)
    return f"{documents[0].source}: no {KIND} in it (found: {found}){hint}"


def check(document: Document, namespace: str | None = None) -> tuple[TrainingJob | None, list[str]]:
    """The job, or None and a line for each fault."""
    value = document.value
    given = _namespace(value)
    if namespace is not None and given is not None and given != namespace:
        where = document.place("metadata.namespace")
        return None, [f"{where}: metadata.namespace: is {given}, but --namespace is {namespace}"]
    if namespace is not None and given is None and isinstance(value.get("metadata"), dict):
        value = {**value, "metadata": {**value["metadata"], "namespace": namespace}}
    job, problems = check_manifest(value)
    if namespace is not None and given is None:
        for problem in problems:
            if problem.field == "metadata.namespace":
                return None, [f"--namespace: {problem.message}"]
    lines = (f"{document.place(problem.field)}: {problem}" for problem in problems)
    return job, list(dict.fromkeys(lines))


def jobs(documents: Sequence[Document]) -> Iterator[Document]:
    """Those that claim to be TrainingJobs, or nothing at all."""
    return (document for document in documents if document.kind in (KIND, ""))


def _namespace(value: Any) -> Any:
    meta = value.get("metadata") if isinstance(value, dict) else None
    return meta.get("namespace") if isinstance(meta, dict) else None
