"""What became of a stage: the answer of its room to one observation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ...api.payload import StageResult
from ...api.v1alpha1 import REASONS, Evaluation, LastFailure, StageStatus
from ...api.v1alpha1.reasons import ReasonName
from ...api.v1alpha1.status import Deployment
from ..diagnose import with_remedy


@dataclass(frozen=True)
class StageOutcome:
    """A stage's new status, with what the job as a whole must know of it. ``result``: it has just
    succeeded with this. ``wake``: when the outcome may change although nothing happens."""

    stage: StageStatus
    result: StageResult | None = None
    failure: LastFailure | None = None
    evaluation: Evaluation | None = None
    deployment: Deployment | None = None
    wake: datetime | None = None


def failed_for_good(
    stage: StageStatus,
    reason: ReasonName,
    what: str,
    now: datetime,
    evaluation: Evaluation | None = None,
) -> StageOutcome:
    """A failure that no pod has caused and that no other attempt would mend."""
    message = with_remedy(reason, what)[:2048]
    ended = stage.completion_time or now
    update = {"phase": "Failed", "reason": reason, "message": message, "completion_time": ended}
    failure = LastFailure(
        stage=stage.name,
        attempt=stage.attempt,
        failure_class=REASONS[reason].failure_class,
        reason=reason,
        message=message,
        time=ended,
    )
    return StageOutcome(stage.model_copy(update=update), failure=failure, evaluation=evaluation)
