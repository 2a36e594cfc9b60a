"""Conditions, in kstatus' terms: Reconciling while it works, Stalled when it will not go on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ..api.v1alpha1 import Condition, Status
from ..api.v1alpha1.status import ConditionType, Phase

Value = Literal["True", "False", "Unknown"]


def of_job(
    prior: Status,
    phase: Phase,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    settled: bool = False,
    progressing: tuple[Value, str, str] | None = None,
    deployed: tuple[Value, str, str] | None = None,
) -> list[Condition]:
    """All conditions for a valid job in ``phase``; times change only where the value does.
    ``settled``: a job that is suspended, or deleted, has no pod left. ``progressing``, ``deployed``
    are value, reason and message of conditions which only some jobs have.

    ``Ready`` is never published: tools read Ready=False as degraded, which a running job is not.
    """
    succeeded, failed, suspended = (phase == p for p in ("Succeeded", "Failed", "Suspended"))
    still = settled and phase in ("Suspended", "Deleting")
    values: list[tuple[ConditionType, bool, str, str]] = [
        ("Valid", True, "Valid", ""),
        ("Suspended", suspended, _of_suspension(prior, suspended), message if suspended else ""),
        ("Reconciling", not (succeeded or failed or still), reason, message),
        ("Stalled", failed, reason, message if failed else ""),
        ("Complete", succeeded, reason, message if succeeded else ""),
        ("Failed", failed, reason, message if failed else ""),
    ]
    found = [
        _condition(prior, kind, _text(value), why, text, generation, now)
        for kind, value, why, text in values
    ]
    if progressing is not None:
        found.append(_condition(prior, "Progressing", *progressing, generation, now))
    if deployed is not None:
        found.append(_condition(prior, "Deployed", *deployed, generation, now))
    return found


def of_unreadable(prior: Status, message: str, generation: int, now: datetime) -> list[Condition]:
    """All conditions for a job whose spec cannot be read: it stands still until it is corrected."""
    values: list[tuple[ConditionType, bool]] = [
        ("Valid", False),
        ("Suspended", False),
        ("Reconciling", False),
        ("Stalled", True),
        ("Complete", False),
        ("Failed", False),
    ]
    return [
        _condition(prior, kind, _text(value), "InvalidSpec", message, generation, now)
        for kind, value in values
    ]


def resumed(prior: Status, now: datetime) -> datetime | None:
    """When a job that is not suspended was last resumed or run again; None when it never was."""
    rerun, before = prior.rerun_time, _find(prior, "Suspended")
    if before is None or before.reason == "NotSuspended":
        return rerun
    since = before.last_transition_time if before.status == "False" else now
    return max(since, rerun) if rerun else since


def _text(value: bool) -> Value:
    return "True" if value else "False"


def _of_suspension(prior: Status, suspended: bool) -> str:
    if suspended:
        return "Suspended"
    before = _find(prior, "Suspended")
    return "Resumed" if before and before.reason in ("Suspended", "Resumed") else "NotSuspended"


def _find(status: Status, kind: ConditionType) -> Condition | None:
    return next((c for c in status.conditions if c.type == kind), None)


def _condition(
    prior: Status,
    kind: ConditionType,
    value: Value,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Condition:
    before = _find(prior, kind)
    unchanged = before is not None and before.status == value
    return Condition(
        type=kind,
        status=value,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if unchanged and before else now,
        observed_generation=generation,
    )
