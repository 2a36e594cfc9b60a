"""Pods on disk: records that read like a v1 Pod, made from what a shim leaves behind."""

from __future__ import annotations

import copy
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..core import PodView
from .files import read_json, tail, timestamp, write_json

# Kubernetes' limits: of a termination message, and of the log that stands in for it.
_MESSAGE_LIMIT = 4096
_LOG_LIMIT = 2048
_LOG_LINES = 80

_SIGKILL = 9


@dataclass
class Record:
    """One pod's record and its folder. ``pod`` is the v1 Pod; only this class changes it."""

    folder: Path
    pod: dict[str, Any]
    # Its init container has not ended. Of a pod of an earlier run nothing is started any more.
    preparing: bool = False

    @classmethod
    def create(cls, folder: Path, manifest: dict[str, Any]) -> Record:
        """A new pod, Pending."""
        # Of an attempt to make it that a crash cut short, there is nothing worth keeping.
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "cwd").mkdir(parents=True)
        (folder / "termination").touch()
        pod = copy.deepcopy(manifest)
        pod["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        pod["status"] = {"phase": "Pending"}
        record = cls(folder, pod, preparing="initContainers" in pod["spec"])
        record._write()
        return record

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """A pod of an earlier run; None when it was never made completely."""
        try:
            pod = read_json(folder / "pod.json")
            return cls(folder, pod) if PodView.from_dict(pod) else None
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def name(self) -> str:
        """Name of the pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Its uid: a pod of the same name made later has another."""
        return str(self.pod["metadata"]["uid"])

    @property
    def over(self) -> bool:
        """Whether its process has ended."""
        return self.pod["status"]["phase"] in ("Succeeded", "Failed")

    @property
    def deleting(self) -> bool:
        """Whether it is to go."""
        return "deletionTimestamp" in self.pod["metadata"]

    @property
    def container(self) -> dict[str, Any]:
        """Of its one container, and the one before that if there is one: whose turn it is."""
        kind = "initContainers" if self.preparing else "containers"
        found: dict[str, Any] = self.pod["spec"][kind][0]
        return found

    @property
    def grace(self) -> int:
        """Seconds between SIGTERM and SIGKILL."""
        return int(self.pod["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def log(self) -> Path:
        """Its log."""
        return self.folder / "log"

    @property
    def termination(self) -> Path:
        """Where it leaves its termination message."""
        return self.folder / "termination"

    @property
    def exit_file(self) -> Path:
        """Where its shim leaves the exit code."""
        return self.folder / ("exit-before.json" if self.preparing else "exit.json")

    def view(self) -> PodView:
        """As the core sees it."""
        return PodView.from_dict(self.pod)

    def mark_deleted(self, grace: int) -> None:
        """It is to go, as soon as its process has ended; that has ``grace`` seconds."""
        by = datetime.now(UTC) + timedelta(seconds=grace)
        self.pod["metadata"] |= {
            "deletionTimestamp": timestamp(by),
            "deletionGracePeriodSeconds": grace,
        }
        self._write()

    def mark_waiting(self, reason: str, message: str) -> None:
        """It cannot start."""
        self._set("Pending", {"waiting": {"reason": reason, "message": message}})
        self._write()

    def mark_running(self) -> None:
        """Its process was started. Losing this write does no harm: the process tells."""
        phase = "Pending" if self.preparing else "Running"
        self._set(phase, {"running": {"startedAt": timestamp()}})
        self._write(durable=False)

    def prepared(self) -> bool:
        """Whether its init container has just ended well: its own is to be started now."""
        told = self._exit_record()
        if not self.preparing or told.get("exitCode") != 0 or told.get("stopped"):
            return False
        self.preparing = False
        return True

    def mark_exited(self, fallback_code: int | None, why_stopped: str) -> None:
        """Its process has ended; how, says the shim's record.

        Without one the shim was killed or the disk is full: then ``fallback_code`` counts, and if
        that is None too, the machine or the runner went down with it. A pod that was stopped, or
        went down so, was interrupted rather than failed: ``why_stopped`` is told then.
        """
        told = self._exit_record()
        code = told.get("exitCode", fallback_code)
        if self.preparing and code == 0:  # of the init container: its own never began
            code = None
        disrupted = code is None or bool(told.get("stopped"))
        if code is None:
            code = 128 + _SIGKILL
        phase = "Failed" if code or disrupted else "Succeeded"
        self._set(phase, {"terminated": self._terminated(code, told)})
        if disrupted:
            # What it may have published before counts all the same; the core sees to that.
            condition = {"type": "DisruptionTarget", "status": "True"}
            condition["message"] = why_stopped
            self.pod["status"]["conditions"] = [condition]
        self._write()

    def _exit_record(self) -> dict[str, Any]:
        try:
            told = read_json(self.exit_file)
        except ValueError:
            told = None
        return told if isinstance(told, dict) and isinstance(told.get("exitCode"), int) else {}

    def _terminated(self, code: int, told: dict[str, Any]) -> dict[str, Any]:
        message = tail(self.termination, _MESSAGE_LIMIT)
        fallback = self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if code and not message and fallback:
            lines = tail(self.log, _LOG_LIMIT).splitlines(keepends=True)
            message = "".join(lines[-_LOG_LINES:])
        state: dict[str, Any] = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": message,
            "startedAt": _moment(told.get("startedAt")) or self._started_at(),
            "finishedAt": _moment(told.get("finishedAt")) or timestamp(),
        }
        if code > 128:
            state["signal"] = code - 128
        return state

    def _started_at(self) -> str:
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in self.pod["status"].get(kind, ()):
                if "running" in container["state"]:
                    return str(container["state"]["running"]["startedAt"])
        return str(self.pod["metadata"]["creationTimestamp"])

    def _set(self, phase: str, state: dict[str, Any]) -> None:
        container = self.container
        kind = "initContainerStatuses" if self.preparing else "containerStatuses"
        self.pod["status"] = {
            "phase": phase,
            kind: [
                {
                    "name": container["name"],
                    "image": container.get("image", ""),
                    "ready": phase == "Running",
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }

    def _write(self, *, durable: bool = True) -> None:
        write_json(self.folder / "pod.json", self.pod, durable=durable)


def _moment(seconds: object) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    return timestamp(datetime.fromtimestamp(seconds, UTC))
