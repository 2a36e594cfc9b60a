"""The work folder: where jobs, their pods and their logs lie.

<work>/claims/<claim>/             folders of claims that have none elsewhere
<work>/<namespace>/<job>/job.json  the object, as an API server would hold it
                        /run.json  what this machine adds: claims, ConfigMaps, ports
                        /lock      held by the runner
                        /token     of the runner, with which pods report progress
                        /seal      the key of a test split that is sealed
                        /pods/<pod>/{pod.json, log, termination, exit.json, cwd/}
                        /logs/<pod>.log  logs of pods that were deleted
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import lock
from .errors import LocalError, Refused
from .files import read_json, require_text, write_json, write_text

_CLAIMS = "claims"
# A DNS label, as Kubernetes has it. Not imported: `get` and `logs` need no models, and their
# import takes longer than the commands.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SEAL = "seal"
_KEPT_LOGS = 100


@dataclass(frozen=True)
class Home:
    """The folder of one job."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the job."""
        return self.path.name

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.path.parent.name

    @property
    def pods(self) -> Path:
        """One folder a pod."""
        return self.path / "pods"

    @property
    def logs(self) -> Path:
        """Logs of pods that are gone."""
        return self.path / "logs"

    @property
    def claims(self) -> Path:
        """The claims as pods see them."""
        return self.path / "claims"

    @property
    def token(self) -> Path:
        """By which pods show who they are when they report progress."""
        return self.path / "token"

    def seal_key(self) -> str:
        """By which the job's test split is sealed: 32 bytes, in hex; made when it is asked for.

        Raises LocalError."""
        path = self.path / _SEAL
        if not path.exists():
            write_text(path, secrets.token_hex(32), mode=0o600)
        return path.read_text(encoding="ascii")

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.path / "lock"

    @property
    def busy(self) -> bool:
        """Whether somebody runs the job now."""
        return lock.is_held(self.lock)

    def load(self) -> dict[str, Any] | None:
        """The job, None when there is none. Raises LocalError when the file is damaged."""
        return self._read("job.json")

    def save(self, job: dict[str, Any]) -> None:
        """Store the job."""
        write_json(self.path / "job.json", job)

    def load_run(self) -> dict[str, Any]:
        """What was stored about the run."""
        return self._read("run.json") or {}

    def save_run(self, run: dict[str, Any]) -> None:
        """Store what this machine adds to the job."""
        write_json(self.path / "run.json", run)

    def clear(self) -> None:
        """Forget everything but the lock, the job last."""
        for folder in (self.pods, self.logs, self.claims):
            if folder.exists():
                shutil.rmtree(folder)
        for name in (_SEAL, "run.json", "job.json"):
            (self.path / name).unlink(missing_ok=True)

    def log_of(self, pod: str) -> Path:
        """Where the log of a pod lies, be the pod there or gone."""
        kept = self.logs / f"{pod}.log"
        return kept if kept.exists() else self.pods / pod / "log"

    def all_logs(self) -> dict[str, Path]:
        """Logs by pod."""
        found = {path.stem: path for path in self.logs.glob("*.log")}
        return found | {path.parent.name: path for path in self.pods.glob("*/log")}

    def keep_log(self, pod: str) -> None:
        """Save the log of a pod that goes, and drop the oldest of many."""
        log = self.pods / pod / "log"
        if log.exists():
            self.logs.mkdir(exist_ok=True)
            log.replace(self.logs / f"{pod}.log")
        kept = sorted(self.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-_KEPT_LOGS]:
            old.unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        try:
            value = read_json(path)
        except ValueError as error:
            raise LocalError(f"{path} is damaged ({error}); start over with --fresh") from None
        if value is not None and not isinstance(value, dict):
            raise LocalError(f"{path} is damaged; start over with --fresh")
        return value


class Workspace:
    """All jobs of a work folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - symlinks stay as they were given
        require_text(self.root)
        # The path of a script travels inside a JSON string.
        if re.search(r'["\\\x00-\x1f]', str(self.root)):
            raise Refused(f"work folder {str(self.root)!r}: choose one without quotes in its path")

    @property
    def claims(self) -> Path:
        """Folders of claims that have none elsewhere."""
        return self.root / _CLAIMS

    def home(self, namespace: str, name: str) -> Home:
        """The folder of a job, made if need be. Raises Refused for a namespace that is no name."""
        if not _NAME.fullmatch(namespace):
            raise Refused(f"namespace {namespace!r} is not a name: use letters, digits and '-'")
        if namespace == _CLAIMS:
            raise Refused(f"namespace {_CLAIMS!r} is taken on one machine; choose another")
        home = Home(self.root / namespace / name)
        try:
            home.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(
                f"cannot use the work folder {self.root}: {error.strerror}; "
                "choose another with --work-dir"
            ) from error
        return home

    def homes(self) -> Iterator[Home]:
        """The jobs, by namespace and name."""
        for path in sorted(self.root.glob("*/*/job.json")):
            if path.parts[-3] != _CLAIMS:
                yield Home(path.parent)
