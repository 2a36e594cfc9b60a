"""The model in other forms: each judged on the same rows, and held against the model itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

from trainingjob.api.payload import EvaluatePayload
from trainingjob.api.v1alpha1.evaluate import LOWER_IS_BETTER
from trainingjob.api.v1alpha1.export import Export
from trainingjob.api.v1alpha1.reported import ScoreValue

from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..model.folder import ONNX, VARIANTS
from ..storage import resolve
from . import sources
from .report import JudgedVariant
from .subject import Subject

_MAX_DROP = 0.01
# 1 - 0.99 is more than 0.01.
_ROUNDED = 1e-12
# Rows, one by one, of which the first ones find nothing warm.
_TIMED, _WARM = 60, 10


def judged(
    payload: EvaluatePayload, subject: Subject, metrics: Mapping[str, float]
) -> list[JudgedVariant] | None:
    """Of all that the manifest asks for; ``metrics``: the model's. Raises StageFailure."""
    if payload.export is None:
        return None
    found = []
    for name in payload.export.names:
        one = _judged(payload.export, name, payload.metrics, subject, metrics)
        log(f"variant {name}: {one.bytes} bytes; {one.message or 'accepted'}")
        found.append(one)
    return found


def _judged(
    export: Export, name: str, asked: list[str], subject: Subject, metrics: Mapping[str, float]
) -> JudgedVariant:
    folder = resolve(subject.model_uri)
    path = folder / VARIANTS / name / ONNX
    with storage_errors("read the model"):
        if not path.is_file():
            raise StageFailure("ModelMissing", f"there is no {path.relative_to(folder)}")
        size = path.stat().st_size
    try:
        model = sources.variant(folder, name, subject.split)
        with storage_errors("judge a variant of the model"):
            values = subject.judged_by(sources.run(model, subject.split)).metrics
        latency = _latency(model, subject)
    except StageFailure as failure:
        if failure.reason != "ModelCorrupt":
            raise
        return JudgedVariant(name=name, bytes=size, accepted=False, message=failure.message)
    share = _MAX_DROP
    if name == "int8" and export.quantize is not None:
        given = export.quantize.int8.max_drop
        share = _MAX_DROP if given is None else given
    lost = [words for one in asked if (words := _lost(one, metrics[one], values.get(one), share))]
    return JudgedVariant(
        name=name,
        metrics=[
            ScoreValue(name=one, value=float(f"{values[one]:.6g}"))
            for one in asked
            if one in values
        ],
        bytes=size,
        latency_ms=latency,
        accepted=not lost,
        message=f"it loses more than {share:g} of a metric: {', '.join(lost)}" if lost else "",
    )


def _lost(metric: str, before: float, now: float | None, share: float) -> str:
    """What is lost of a metric, if that is more than a share of it."""
    if now is None:
        return f"{metric} is undefined"
    worse = now - before if metric in LOWER_IS_BETTER else before - now
    return (
        f"{metric} {now:.6g} after {before:.6g}" if worse > share * abs(before) + _ROUNDED else ""
    )


def _latency(model: sources.Runnable, subject: Subject) -> float:
    """Of a row by itself, in milliseconds. Raises StageFailure."""
    features, _ = next(subject.split.examples(model.features, model.encoding))
    seconds = []
    for _ in range(_WARM + _TIMED):
        began = time.perf_counter()
        model.run(features[:1])
        seconds.append(time.perf_counter() - began)
    return float(f"{statistics.median(seconds[_WARM:]) * 1000:.3g}")
