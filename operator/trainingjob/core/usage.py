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
    ran = [seconds(pod, ended) for pod in pods]

    def total(amounts: list[float]) -> int:
        return round(sum(a * s for a, s in zip(amounts, ran, strict=True)))

    gpu_seconds = total([pod.gpus for pod in pods])
    lost = round(sum(pod.gpus * seconds(pod, ended, saved) for pod in pods))
    waits = [_waited(pod, ended) for pod in pods]
    return Usage(
        gpu_seconds=usage.gpu_seconds + gpu_seconds,
        failed_gpu_seconds=usage.failed_gpu_seconds + (0 if well else gpu_seconds),
        lost_gpu_seconds=usage.lost_gpu_seconds + (0 if well else lost),
        cpu_seconds=usage.cpu_seconds + total([pod.cpus for pod in pods]),
        memory_gib_seconds=usage.memory_gib_seconds + total([pod.memory / _GIB for pod in pods]),
        waiting_seconds=usage.waiting_seconds + round(max(waits, default=0.0)),
    )


def seconds(pod: PodView, ended: datetime, since: datetime | None = None) -> float:
    """How long a pod ran until ``ended``, or of that what came after ``since``: by its node's own
    clock where that says both ends, and no longer than it was there."""
    if pod.started is None:
        return 0.0
    there = _there(pod, ended)
    # A pod holds what it asked for as long as one of its containers runs.
    if pod.lingers or pod.ran is None:
        # Its node's clock may be fast, so that it would begin later than it ended.
        ran = min(there, (ended - pod.started).total_seconds())
        ran = ran if ran >= 0 else there
    else:
        ran = min(there, pod.ran)
    if since is None:
        return ran
    until = ended if pod.lingers or pod.finished is None else min(pod.finished, ended)
    return min(ran, max(0.0, (until - since).total_seconds()))


def _waited(pod: PodView, ended: datetime) -> float:
    if pod.started is None or pod.created is None:
        return 0.0
    waited = max(0.0, (pod.started - pod.created).total_seconds())
    return min(waited, max(0.0, _there(pod, ended) - seconds(pod, ended)))


def _there(pod: PodView, ended: datetime) -> float:
    """Seconds, by clocks that nodes do not set."""
    begun = pod.created or pod.started or ended
    return max(0.0, (ended - begun).total_seconds())
