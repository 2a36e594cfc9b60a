"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from typing import Literal

from ...api.v1alpha1 import FailureClass, Retries
from ...api.v1alpha1.status import FailureCounts

Budget = Literal["infrastructure", "application", "disruption"]

# Failure class -> the budget that it is charged to; no budget, no retry.
_BUDGETS: dict[FailureClass, Budget | None] = {
    "configuration": None,
    "data": None,
    "verdict": None,
    "application": "application",
    "outOfMemory": "application",
    "infrastructure": "infrastructure",
    "disruption": "disruption",
}

# A node that evicts for ever must not make a job restart for ever.
_MAX_DISRUPTIONS = 1000
# The first retry is at once: most causes are gone by then. Then 1, 2, 4 … seconds; a minute is
# short beside what waits for it, and long enough to let a registry or a node breathe.
_MAX_DELAY_SECONDS = 60.0


def budget_of(failure_class: FailureClass) -> Budget | None:
    """The budget that a failure is charged to; None when it is never retried."""
    return _BUDGETS[failure_class]


def allowance(budget: Budget, retries: Retries) -> int:
    """How many failures the budget bears."""
    if budget == "disruption":
        return _MAX_DISRUPTIONS
    return retries.infrastructure if budget == "infrastructure" else retries.application


def charge(counts: FailureCounts, budget: Budget) -> FailureCounts:
    """The counts after one more failure."""
    return counts.model_copy(update={budget: getattr(counts, budget) + 1})


def exhausted(counts: FailureCounts, budget: Budget, retries: Retries) -> bool:
    """Whether the budget bears no further failure."""
    return bool(getattr(counts, budget) >= allowance(budget, retries))


def delay_seconds(counts: FailureCounts) -> float:
    """Seconds between a failure and the next attempt; disruptions do not slow a job down."""
    charged = counts.infrastructure + counts.application
    if charged < 2:
        return 0.0
    return float(min(_MAX_DELAY_SECONDS, 2.0 ** (charged - 2)))
