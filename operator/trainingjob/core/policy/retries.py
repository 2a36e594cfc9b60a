"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

from ...api.v1alpha1 import FailureClass, Retries
from ...api.v1alpha1.policy import ExitCodeRule
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

# Where rules for exit codes hold: wrong input stays wrong, and an eviction is nobody's fault.
_RULED = ("application", "outOfMemory", "infrastructure")
_ACTIONS: dict[str, Budget | None] = {"ignore": "disruption", "retry": "application", "fail": None}

# A node that evicts for ever must not make a job restart for ever.
_MAX_DISRUPTIONS = 1000
# Nor must an exit code that a rule ignores, and that comes at once, keep a cluster busy.
_FEW_DISRUPTIONS = 10
# The first retry is at once: most causes are gone by then. Then 1, 2, 4 … seconds; a minute is
# short beside what waits for it, and long enough to let a registry or a node breathe.
_MAX_DELAY_SECONDS = 60.0
# Jobs that failed together do not come back together: up to so much longer.
_JITTER = 0.25
# After so long a stretch without one, what failed in the cluster before has nothing to do with what
# fails now. User code is given no such credit: a mistake after an hour's work would be repeated
# for ever.
_HEALTHY_SECONDS = 3600.0


def budget_of(
    failure_class: FailureClass, exit_code: int | None = None, rules: Sequence[ExitCodeRule] = ()
) -> Budget | None:
    """The budget that a failure is charged to; None when it is not retried.

    ``rules`` are the user's, for exit codes where it may be the code that failed.
    """
    if failure_class in _RULED:
        action = next((rule.action for rule in rules if exit_code in rule.codes), None)
        if action is not None:
            return _ACTIONS[action]
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


def forgiven(counts: FailureCounts, healthy_seconds: float) -> FailureCounts:
    """The counts as they stand for an attempt that failed after so long a run."""
    if healthy_seconds < _HEALTHY_SECONDS:
        return counts
    return counts.model_copy(update={"infrastructure": 0})


def delay_seconds(counts: FailureCounts, seed: str) -> float:
    """Seconds between a failure and the next attempt; a few disruptions do not slow a job down.
    ``seed`` chooses the jitter: always the same for the same attempt of a job."""
    many = max(0, counts.disruption - _FEW_DISRUPTIONS)
    charged = counts.infrastructure + counts.application + many
    if charged < 2:
        return 0.0
    delay = min(_MAX_DELAY_SECONDS, 2.0 ** (charged - 2))
    return delay * (1 + _JITTER * zlib.crc32(seed.encode()) / 2**32)
