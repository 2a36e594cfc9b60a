"""What `trainingjob run` shows while it runs, where there is no terminal: a line an event."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TextIO

from ..api.v1alpha1 import StageStatus, TrainingJob
from .text import done_words, progress_words, time_taken

_PROGRESS_SECONDS = 5.0


class PlainView:
    """One line per transition, and one of progress every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._shown: dict[str, tuple[str, int, str]] = {}
        self._progress_at = float("-inf")
        self._progress = ""

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        """A remark."""
        self._line(text)

    def update(self, job: TrainingJob) -> None:
        """Print what is new."""
        for stage in job.status.stages:
            key = (stage.phase, stage.attempt, stage.message)
            first = stage.name not in self._shown
            if self._shown.get(stage.name) == key or (first and _waits(stage)):
                continue
            self._shown[stage.name] = key
            self._line(f"{stage.name:<10}  {_words(stage)}")
        progress = job.status.progress
        if progress is None:
            return
        text = f"{progress.stage:<10}  {progress.percent}%"
        text = "  ".join((text, *progress_words(progress)))
        now = time.monotonic()
        if text != self._progress and now - self._progress_at >= _PROGRESS_SECONDS:
            self._progress, self._progress_at = text, now
            self._line(text)

    def stopping(self, grace: int, at_once: bool) -> None:
        """The run was interrupted."""
        self._line(stopping_words(grace, at_once))

    def _line(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            print(f"{datetime.now():%H:%M:%S}  {text}", file=self._stream, flush=True)
        except OSError:
            self._stream = None  # nobody reads any more: the job goes on


def stopping_words(grace: int, at_once: bool) -> str:
    """What happens after Ctrl-C."""
    if at_once:
        return "killing the pods"
    if not grace:
        return "stopping"
    return f"stopping: the pods have {grace}s to end; Ctrl-C again kills them"


def _waits(stage: StageStatus) -> bool:
    """Its turn has not come."""
    return stage.phase == "Pending" and not stage.message and stage.start_time is None


def _words(stage: StageStatus) -> str:
    attempt = f" (attempt {stage.attempt})" if stage.attempt > 1 else ""
    if stage.phase == "Succeeded":
        more = done_words(stage)
        return f"Succeeded in {time_taken(stage)}{attempt}" + (f": {more}" if more else "")
    if stage.reason == "Restarting":
        return f"Restarting: {stage.message}"
    if stage.message:
        return f"{stage.reason or stage.phase}{attempt}: {stage.message}"
    pods = f", {stage.pods.desired} pods" if stage.pods.desired > 1 else ""
    return f"{stage.phase}{attempt}{pods}"
