"""Which pod that waits is to be explained by Events, and from when on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from .. import diagnose
from ..observation import Observation
from ..pods import PodView

# A volume is attached, and a claim bound, within seconds; what takes longer is worth a look.
_AFTER = timedelta(seconds=5)


def wanted(obs: Observation, pods: Iterable[PodView], now: datetime) -> PodView | None:
    """The first of these that has waited for so long without saying why."""
    silent = (pod for pod in _silent(obs, pods) if pod.created and now >= pod.created + _AFTER)
    return next(silent, None)


def wanted_from(obs: Observation, pods: Iterable[PodView]) -> datetime | None:
    """When the next one will have."""
    return min((pod.created + _AFTER for pod in _silent(obs, pods) if pod.created), default=None)


def _silent(obs: Observation, pods: Iterable[PodView]) -> Iterable[PodView]:
    if not obs.settings.pod_events:
        return ()
    waiting = (pod for pod in pods if pod.phase == "Pending" and not pod.deleting)
    return (pod for pod in waiting if diagnose.waiting_of(pod) is None)
