"""Pods that were deleted and do not go, as on a node that is dead."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from ...api.v1alpha1 import Policy
from ..pods import PodView

# A kubelet that lives has cleared a pod away so long after its grace period.
_STUCK = timedelta(seconds=30)
# The queue tries at least once a minute what the API server has refused.
_TRIES = timedelta(seconds=60)


def reported_from(pod: PodView) -> datetime | None:
    """When status reports a pod as stuck; None for one that nobody has deleted."""
    return None if pod.delete_by is None else pod.delete_by + _STUCK


def forced_from(policy: Policy, pod: PodView) -> datetime | None:
    """When a pod that does not go is deleted by force; None when it is not, or has been."""
    after = policy.force_delete_after_seconds
    if after is None or pod.delete_by is None or pod.held:
        return None
    return pod.delete_by + timedelta(seconds=after)


def tried_until(
    policy: Policy, pods: Iterable[PodView], reported: datetime | None
) -> datetime | None:
    """The startup deadline waits until then for force to be tried on ``pods``, which status has
    ``reported`` as stuck since then; None when it does not wait for that."""
    after = policy.force_delete_after_seconds
    due = [at for pod in pods if (at := forced_from(policy, pod)) is not None]
    if after is None or after >= policy.startup_deadline_seconds or not due:
        return None
    return max([*due, reported] if reported else due) + _TRIES
