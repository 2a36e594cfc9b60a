"""What a stage took: resources times seconds, added up as its attempts end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..api.v1alpha1.status import Usage
from .pods import PodView

_GIB = 2**30


def after(
    usage: Usage | None,
    pods: Sequence[PodView],
    ended: datetime,
    well: bool,
    saved: datetime | None = None,
) -> Usage:
    """The usage with an attempt added: of these ``pods``, until ``ended``, ``well`` or not. If not,
    what it did until ``saved`` is in a checkpoint. Pods that are gone already cannot be counted."""
    usage = usage or Usage()
    seconds = [_seconds(pod, ended) for pod in pods]

    def total(amounts: list[float]) -> int:
        return round(sum(a * s for a, s in zip(amounts, seconds, strict=True)))

    gpu_seconds = total([pod.gpus for pod in pods])
    lost = round(sum(pod.gpus * _seconds(pod, ended, saved) for pod in pods))
    waits = [
        (pod.started - pod.created).total_seconds() for pod in pods if pod.started and pod.created
    ]
    return Usage(
        gpu_seconds=usage.gpu_seconds + gpu_seconds,
        failed_gpu_seconds=usage.failed_gpu_seconds + (0 if well else gpu_seconds),
        lost_gpu_seconds=usage.lost_gpu_seconds + (0 if well else lost),
        cpu_seconds=usage.cpu_seconds + total([pod.cpus for pod in pods]),
        memory_gib_seconds=usage.memory_gib_seconds + total([pod.memory / _GIB for pod in pods]),
        waiting_seconds=usage.waiting_seconds + round(max(waits, default=0.0)),
    )


def _seconds(pod: PodView, ended: datetime, since: datetime | None = None) -> float:
    """How long it ran, or since when."""
    if pod.started is None:
        return 0.0
    begun = max(pod.started, since) if since else pod.started
    # A pod holds what it asked for as long as one of its containers runs.
    until = ended if pod.lingers else pod.finished or ended
    return max(0.0, (until - begun).total_seconds())
