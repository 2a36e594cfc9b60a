"""How often the status of one job is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..api.v1alpha1 import Status

# Pods that come up one by one are worth one write a second.
_SECONDS = 1.0
# The pods of a gang become ready, and end, moments apart: news that wait for the others' cost one
# write, not two.
_COMPANY_SECONDS = 0.5
# Progress is for people to look at; every write of it costs every watcher.
_PROGRESS_SECONDS = 5.0


@dataclass
class Pace:
    """Turns of a job are written at once; lesser changes wait for company."""

    _last: float = field(default=float("-inf"))
    # Since when there is something to write.
    _since: float | None = None

    def wait(self, before: Status, after: Status, now: float) -> float | None:
        """Seconds until the change may be written; None when there is none. ``now`` is monotonic
        seconds."""
        if _same(before, after):
            self._since = None
            return None
        if _turn(before) != _turn(after):
            return 0.0
        reports = {"progress": before.progress, "checkpoint": before.checkpoint}
        lesser = after.model_copy(update=reports)
        pause = _PROGRESS_SECONDS if _same(before, lesser) else _SECONDS
        self._since = now if self._since is None else self._since
        return max(0.0, self._last + pause - now, self._since + _COMPANY_SECONDS - now)

    def written(self, now: float) -> None:
        """A status was written."""
        self._last, self._since = now, None


def _same(one: Status, other: Status) -> bool:
    # As they are stored: times have whole seconds there.
    return one.to_dict() == other.to_dict()


def _turn(status: Status) -> object:
    """What nobody should have to wait for."""
    stages = [(stage.attempt, stage.phase in ("Succeeded", "Failed")) for stage in status.stages]
    return status.phase, stages, status.last_failure, status.observed_generation
