"""The signature on each of our pods: of its name and its job's uid, by the operator's key."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from ..api.v1alpha1 import TrainingJob
from . import names
from .pods import PodView

_KEY_ID_CHARS = 8


def signed(job: TrainingJob, pod: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The pod with our signature; as it is without a key."""
    if not key:
        return dict(pod)
    meta = pod["metadata"]
    mark = {names.ANNOTATION_SIGNATURE: _signature(job, meta["name"], key)}
    return {**pod, "metadata": meta | {"annotations": (meta.get("annotations") or {}) | mark}}


def signer(job: TrainingJob, pods: Iterable[PodView], key: bytes) -> str | None:
    """For status: by which key all pods of a stage are signed, and those to come; None without one,
    or when some are not."""
    return key_id(key) if key and all(bears(job, pod, key) for pod in pods) else None


def key_id(key: bytes) -> str:
    """Tells keys apart, and nothing about them."""
    return hmac.digest(key, b"id", "sha256").hex()[:_KEY_ID_CHARS]


def bears(job: TrainingJob, pod: PodView, key: bytes) -> bool:
    """Whether the pod has our signature."""
    return hmac.compare_digest(pod.signature.encode(), _signature(job, pod.name, key).encode())


def _signature(job: TrainingJob, name: str, key: bytes) -> str:
    text = "/".join((job.metadata.namespace, job.metadata.uid, name))
    return base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
