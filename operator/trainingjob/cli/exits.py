"""Exit codes: scripts and CI jobs decide by them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the models take longer to import than most commands
    from ..api.v1alpha1 import TrainingJob


class Exit(IntEnum):
    """What the process ends with."""

    SUCCEEDED = 0
    FAILED = 1
    INVALID = 2
    GATE_FAILED = 3
    INTERRUPTED = 130


MEANINGS = {
    Exit.SUCCEEDED: "succeeded",
    Exit.FAILED: "the job failed, or this machine was in the way",
    Exit.INVALID: "invalid manifest, or wrong usage",
    Exit.GATE_FAILED: "the model did not pass its gates",
    Exit.INTERRUPTED: "interrupted; run again to go on",
}


def outcome(job: TrainingJob) -> Exit:
    """The exit code for a job that has been run."""
    if job.status.phase == "Succeeded":
        return Exit.SUCCEEDED
    if job.status.phase == "Failed":
        return Exit.GATE_FAILED if job.status.reason == "GateFailed" else Exit.FAILED
    return Exit.INTERRUPTED
