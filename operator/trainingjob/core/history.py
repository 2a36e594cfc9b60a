"""The attempts that did not succeed: what status keeps of them when their pods are gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ..api.v1alpha1 import LastFailure, StageStatus
from ..api.v1alpha1.status import Attempt
from .pods import PodView

# As the CRD has it: enough for a story, and status stays small.
_KEPT = 20
_MESSAGE_CHARS = 512
# Attempts that were ended without having failed.
_INTERRUPTED = ("Suspended", "Rerun", "Resized", "Deleting")


def after(
    history: Sequence[Attempt],
    stage: StageStatus,
    number: int,
    failure: LastFailure | None,
    pods: Iterable[PodView],
    now: datetime,
) -> list[Attempt]:
    """The history with attempt ``number`` added: of these ``pods``, leaving ``stage`` as it is now.
    An attempt that went well is not kept."""
    if failure is None and stage.reason not in _INTERRUPTED:
        return list(history)
    started = [pod.started for pod in pods if pod.started]
    ended = Attempt(
        stage=stage.name,
        attempt=number,
        failure_class=failure.failure_class if failure else "",
        reason=failure.reason if failure else stage.reason,
        message=failure.message[:_MESSAGE_CHARS] if failure else "",
        pod=failure.pod if failure else "",
        node=failure.node if failure else "",
        start_time=min([now, *started]) if started else None,
        completion_time=failure.time if failure else now,
    )
    return _newest([*history, ended])


def _newest(history: list[Attempt]) -> list[Attempt]:
    """A queue that stops a job again and again pushes no failure out."""
    while len(history) > _KEPT:
        calm = (place for place, one in enumerate(history) if one.reason in _INTERRUPTED)
        del history[next(calm, 0)]
    return history
