"""How often the status of one job is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..api.v1alpha1 import Status

# Pods that come up one by one are worth one write a second, and so is that a job has begun: by then
# its pods may run, or have done their work.
_SECONDS = 1.0
# The pods of a gang become ready, and end, moments apart: news that wait for the others' cost one
# write, not two.
_COMPANY_SECONDS = 0.5
# Progress is for people to look at; every write of it costs every watcher.
_PROGRESS_SECONDS = 5.0
# What pods report, by its names in status.
_REPORTED = {"progress", "checkpoint"}
# What a job says of a stage that comes up as it should.
_WELL = ("Starting", "Running")


@dataclass
class Pace:
    """Turns of a job are written at once; lesser changes wait for company."""

    _last: float = field(default=float("-inf"))
    # Since when there is something to write.
    _since: float | None = None

    def wait(self, before: Status, after: Status, now: float) -> float | None:
        """Seconds until the change may be written; None when there is none. ``now`` is monotonic
        seconds."""
        # As they are stored: times have whole seconds there.
        one, other = before.to_dict(), after.to_dict()
        if one == other:
            self._since = None
            return None
        begins = not before.observed_generation and _begins(after)
        if not begins and _turn(before) != _turn(after):
            return 0.0
        self._since = now if self._since is None else self._since
        if begins:
            return max(0.0, self._since + _SECONDS - now)
        changed = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
        pause = _PROGRESS_SECONDS if changed <= _REPORTED else _SECONDS
        return max(0.0, self._last + pause - now, self._since + _COMPANY_SECONDS - now)

    def written(self, now: float) -> None:
        """A status was written."""
        self._last, self._since = now, None


def _begins(status: Status) -> bool:
    """Whether there is no more to tell than that the first pods come up as they should."""
    untold = all((stage.attempt, stage.over) == (1, False) for stage in status.stages)
    return untold and status.last_failure is None and status.reason in _WELL


def _turn(status: Status) -> object:
    """What nobody should have to wait for."""
    stages = [(stage.attempt, stage.phase in ("Succeeded", "Failed")) for stage in status.stages]
    return status.phase, stages, status.last_failure, status.observed_generation
