"""The driver: gather, plan, apply, status, write, until the job has ended."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ..api.v1alpha1 import TrainingJob
from ..core import ChildView, Observation, Plan, Settings, plan, status
from ..core.applied import is_applied
from .files import write_text
from .kubelet import Kubelet
from .node import Node
from .progress import ProgressServer
from .serving import Serving
from .session import Session, is_over
from .wakeup import Wakeup

# Progress alone is worth one write a second; a viewer sees all of it.
_PROGRESS_WRITE_SECONDS = 1.0


_SETTINGS = Settings(deploys=True, serves=False)


class Listener(Protocol):
    """Who is told how the job goes on, from the main thread."""

    def update(self, job: TrainingJob) -> None:
        """The status has changed, or progress has."""

    def stopping(self, grace: int, at_once: bool) -> None:
        """The run was interrupted and ends, in at most ``grace`` seconds or at once."""


class Runner:
    """Drives one job. The core decides; nothing here knows what a stage is."""

    def __init__(self, session: Session, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._wakeup = Wakeup()
        self._children: dict[tuple[str, str], ChildView] = {}
        self._settings = _SETTINGS
        self._progress: ProgressServer | None = None
        self._written = float("-inf")
        self._unwritten = False
        run = session.run
        ports: dict[str, int] = run.setdefault("ports", {})
        node = Node(
            claims_dir=session.home.claims,
            claims={name: Path(folder) for name, folder in run.get("claims", {}).items()},
            config_maps=run.get("configMaps", {}),
            ports=ports,
            on_port=session.save_run,
            token=session.home.token,
        )
        self._kubelet = Kubelet(session.home, node)
        self._serving = Serving(self._kubelet)

    def run(self) -> TrainingJob:
        """Run until the job has ended, or was interrupted: then it is not over.

        No process of it is left afterwards, whatever happens.
        """
        meta = TrainingJob.from_dict(self._session.job).metadata
        with (
            self._wakeup,
            ProgressServer(
                meta.namespace, meta.name, self._wakeup.notify, self._session.home.seal_key
            ) as self._progress,
        ):
            self._settings = replace(_SETTINGS, status_url=self._progress.url)
            write_text(self._session.home.token, self._progress.token, durable=False, mode=0o600)
            try:
                self._kubelet.recover()
                self._drive()
            finally:
                self._kubelet.close()
        return self._job()

    def _drive(self) -> None:
        while True:
            if self._wakeup.interrupts:
                self._stop()
                return
            self._kubelet.sync()
            todo = plan(self._observe(), datetime.now(UTC))
            self._apply(todo)
            if self._record() or not todo.empty:
                continue
            if is_over(self._session.job) and not self._kubelet.running:
                return
            self._wakeup.wait(self._patience(todo))

    def _stop(self) -> None:
        """Let the pods end in their own way; at the second interrupt, kill them."""
        grace = self._kubelet.stop("the runner was stopped")
        self._listener.stopping(grace, at_once=False)
        while self._kubelet.running and self._wakeup.interrupts < 2:
            self._wakeup.wait(None)
            self._kubelet.sync()
        if self._kubelet.running:
            self._listener.stopping(0, at_once=True)
            self._kubelet.close()
        self._record()

    def _observe(self) -> Observation:
        return Observation(
            job=self._job(),
            pods=self._kubelet.pods(),
            children=(*self._children.values(), *self._serving.children),
            servers=self._serving.pods,
            reported=self._progress.latest if self._progress else None,
            listening_since=self._progress.since if self._progress else None,
            settings=self._settings,
        )

    def _apply(self, todo: Plan) -> None:
        for child in todo.create:
            if child["kind"] == "Pod":
                self._kubelet.create(child)
            elif is_applied(child):
                self._serving.apply(self._job(), child)
            else:  # the gang's network: on one machine everybody is at 127.0.0.1
                made = ChildView.from_dict(child["kind"], child)
                self._children[made.kind, made.name] = made
        for pod in todo.delete:
            self._kubelet.delete(pod.name)
        for pod in todo.force:
            self._kubelet.delete(pod.name, force=True)

    def _record(self) -> bool:
        """Write the status if it changed; whether there may be something new to do."""
        old = self._session.job.get("status") or {}
        # Through JSON, so that what we go on with is what lies on disk.
        new = json.loads(json.dumps(status(self._observe(), datetime.now(UTC)).to_dict()))
        if new == old and not self._unwritten:
            return False
        only_progress = _but_reports(new) == _but_reports(old)
        self._session.job["status"] = new
        self._listener.update(self._job())
        since = time.monotonic() - self._written
        self._unwritten = only_progress and since < _PROGRESS_WRITE_SECONDS
        if not self._unwritten:
            self._session.home.save(self._session.job)
            self._written = time.monotonic()
        return not only_progress

    def _patience(self, todo: Plan) -> float | None:
        waits = [todo.requeue_after]
        if self._unwritten:
            waits.append(self._written + _PROGRESS_WRITE_SECONDS - time.monotonic())
        return min((max(0.0, wait) for wait in waits if wait is not None), default=None)

    def _job(self) -> TrainingJob:
        return TrainingJob.from_dict(self._session.job)


def _but_reports(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: stored[key] for key in stored if key not in ("progress", "checkpoint")}
