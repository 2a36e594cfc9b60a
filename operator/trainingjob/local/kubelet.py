"""A kubelet small enough to read in one sitting: pods as processes of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from ..core import PodView
from . import survivors
from .node import ConfigError, Node
from .records import Record
from .store import Home

_KILL_SECONDS = 10.0


class Kubelet:
    """The pods of one job. Used from the main thread alone: a shim takes the death of the thread
    that started it for the death of the runner."""

    def __init__(self, home: Home, node: Node) -> None:
        self._home = home
        self._node = node
        self._records: dict[str, Record] = {}
        self._shims: dict[str, subprocess.Popen[bytes]] = {}
        # Why pods are being stopped, when it is not the core's doing.
        self._interrupted = ""

    @property
    def running(self) -> bool:
        """Whether any process of a pod is left."""
        return bool(self._shims)

    def pods(self) -> tuple[PodView, ...]:
        """All pods, as the core sees them."""
        return tuple(record.view() for record in self._records.values())

    def recover(self) -> None:
        """Take over what an earlier run has left: finished pods keep their result, the others
        were interrupted. Raises LocalError when a process of theirs cannot be ended."""
        folders = sorted(self._home.pods.iterdir()) if self._home.pods.exists() else []
        for folder in folders:
            record = Record.load(folder)
            if record is None:
                shutil.rmtree(folder)
            else:
                self._records[record.name] = record
        survivors.end({record.uid for record in self._records.values()})
        for record in list(self._records.values()):
            if record.deleting:
                self._remove(record)
            elif not record.over:
                record.mark_exited(None, "the runner was stopped")

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make a pod and start it."""
        record = Record.create(self._home.pods / manifest["metadata"]["name"], dict(manifest))
        self._records[record.name] = record
        self._begin(record)

    def _begin(self, record: Record) -> None:
        """Start the container whose turn it is."""
        try:
            self._shims[record.name] = self._start(record)
        except ConfigError as error:
            record.mark_waiting("CreateContainerConfigError", str(error))
        except OSError as error:
            record.mark_waiting("RunContainerError", f"cannot start a process: {error.strerror}")
        else:
            record.mark_running()

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a pod: SIGTERM, its grace period and then, or by ``force`` at once, SIGKILL; then
        its record goes."""
        record = self._records[name]
        if record.deleting and not force:
            return
        record.mark_deleted(0 if force else record.grace)
        if name in self._shims:
            self._shims[name].send_signal(signal.SIGHUP if force else signal.SIGTERM)
        else:
            self._remove(record)

    def sync(self) -> None:
        """Look which pods have ended."""
        for name, shim in list(self._shims.items()):
            code = shim.poll()
            if code is None:
                continue
            del self._shims[name]
            record = self._records[name]
            if code < 0 or not record.exit_file.exists():
                # The shim itself was killed: nobody has cleared up behind the command.
                survivors.end({record.uid})
            if record.deleting:
                self._remove(record)
            elif not self._interrupted and record.prepared():
                self._begin(record)
            else:
                # A shim that we stop before it has begun leaves no word.
                fallback = None if self._interrupted else code if code >= 0 else 128 - code
                record.mark_exited(fallback, self._interrupted or "somebody stopped it")

    def stop(self, why: str) -> int:
        """Ask all pods to end; they are interrupted, not failed. How many seconds they have."""
        self._interrupted = why
        self._signal(signal.SIGTERM)
        for record in self._records.values():
            if not record.over and record.name not in self._shims:
                record.mark_exited(None, why)
        return max((self._records[name].grace for name in self._shims), default=0)

    def close(self) -> None:
        """Leave no process behind: kill at once what still runs."""
        self._interrupted = self._interrupted or "the runner failed"
        self._signal(signal.SIGHUP)
        deadline = time.monotonic() + _KILL_SECONDS
        for shim in self._shims.values():
            try:
                shim.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                shim.kill()
        self.sync()

    def _start(self, record: Record) -> subprocess.Popen[bytes]:
        launch = self._node.launch(record)
        arguments = [str(record.exit_file), str(record.grace), str(os.getpid()), *launch.command]
        with record.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", survivors.SHIM, *arguments],
                cwd=record.folder / "cwd",
                env=launch.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _signal(self, number: int) -> None:
        for shim in self._shims.values():
            shim.send_signal(number)

    def _remove(self, record: Record) -> None:
        self._home.keep_log(record.name)
        shutil.rmtree(record.folder, ignore_errors=True)
        self._records.pop(record.name, None)
