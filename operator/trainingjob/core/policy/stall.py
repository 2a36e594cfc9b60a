"""Stalls: training whose pods all run and that reports nothing new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...api.v1alpha1 import Progress, StageStatus
from ..observation import Observation
from ..pods import PodView
from . import deadlines


@dataclass(frozen=True)
class Watch:
    """Over a training: if nothing new is heard from ``since`` to ``until`` it has stalled; ``last``
    was heard."""

    since: datetime
    until: datetime
    last: Progress | None

    @property
    def message(self) -> str:
        """How far training came, for people."""
        if self.last is None:
            return "nothing was reported"
        if self.last.step is not None:
            return f"the last report was of step {self.last.step}"
        return f"the last report was of {self.last.percent} %"


def watch(
    obs: Observation, stage: StageStatus, pods: Sequence[PodView], now: datetime
) -> Watch | None:
    """Over a stage whose ``pods`` all run; None when nobody wants it, or can.

    Time in which nobody listened does not count: a restart of the operator restarts no training.
    """
    stall = obs.job.spec.policy.stall
    if stall is None or obs.listening_since is None or not heard(obs, stage):
        return None
    last = obs.progress_of(stage)
    made = max((pod.created for pod in pods if pod.created), default=now)
    if last is None or last.updated_time is None or last.updated_time < made:
        last = None  # none, or of an earlier attempt
        # Nodes say when their pods began: not before they were made, nor after they were to run.
        latest = min(now, deadlines.started_until(obs.job.spec.policy, made))
        since = min(latest, max(pod.started or made for pod in pods))
    else:
        since = last.updated_time
    since = max(since, obs.listening_since)
    return Watch(since, since + timedelta(seconds=stall.after_seconds), last)


def heard(obs: Observation, stage: StageStatus) -> bool:
    """Whether the stage's pods can report to us: not those made when nobody listened, or somebody
    with another certificate."""
    return obs.listening_since is not None and all(
        pod.status_ca == obs.settings.status_ca for pod in obs.pods_of(stage.name) if not pod.over
    )
