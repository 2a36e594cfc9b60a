"""What is left of a job that is over, and how long."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...api.v1alpha1 import Policy, Status


def keeps_pods(policy: Policy, status: Status) -> bool:
    """Whether pods that have ended stay, for their logs."""
    if policy.clean_pods == "onSuccess":
        return status.phase != "Succeeded"
    return policy.clean_pods != "always"


def kept_until(policy: Policy, status: Status) -> datetime | None:
    """When the job itself is to go; None when it stays."""
    if policy.ttl_seconds_after_finished is None or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=policy.ttl_seconds_after_finished)
