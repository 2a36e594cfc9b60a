"""Deadlines: of the whole job, of the start of a stage's pods, and of what keeps them from it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.v1alpha1 import REASONS, Policy
from ...api.v1alpha1.reasons import ReasonName


def active_until(policy: Policy, started: datetime | None) -> datetime | None:
    """When the job must have ended; None when it may take for ever."""
    if policy.active_deadline_seconds is None or started is None:
        return None
    return started + timedelta(seconds=policy.active_deadline_seconds)


def started_until(policy: Policy, since: datetime) -> datetime:
    """When all pods of an attempt that began at ``since`` must run."""
    return since + timedelta(seconds=policy.startup_deadline_seconds)


def tolerated_until(reason: ReasonName, since: datetime | None) -> datetime | None:
    """For how long a reason that has blocked pods from starting ``since`` then is tolerated. None:
    only the startup deadline ends it, as when the time is not known."""
    grace = REASONS[reason].grace_seconds
    return None if grace is None or since is None else since + timedelta(seconds=grace)
