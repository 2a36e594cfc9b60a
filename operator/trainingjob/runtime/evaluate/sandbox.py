"""Models of own code, run in a process of their own (``sandbox_process.py``).

Whatever such a model does, that process may crash, hang or want all memory, and the one that judges
says so. It has neither the variables of the pod, which may have secrets, nor, where the kernel lets
it have a network of its own, a network; it can write no files but a copy of the model.

The first line of its input says what to load; then come rows, float32 [n, d] behind their number,
or texts, a list in JSON behind its bytes. What it answers is a line of JSON, and behind that
float64 of the shape that the line tells.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import StageFailure
from ..model.folder import TEXT_CLASSIFIER

_COMMAND = [
    *(sys.executable, "-P", "-m", "trainingjob.runtime.base.alone"),
    "trainingjob.runtime.evaluate.sandbox_process",
]
# What a framework needs to find its libraries and threads; nothing of the user's.
_VARIABLES = ("PATH", "LANG", "HOME", "TMPDIR", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
_LOAD_SECONDS, _RUN_SECONDS = 600.0, 300.0
_LINE_BYTES = 2**20


class _Process:
    """The model at ``path``, and what is ``asked`` of the process that loads it; ``told``: what it
    found. Raises StageFailure(ModelCorrupt)."""

    def __init__(self, path: Path, **asked: Any) -> None:
        self._path = path
        self._asked = {"path": str(path), **asked}
        self._process: subprocess.Popen[bytes] | None = None
        self._told = self._begin()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not sent
                    stream.close()  # type: ignore[union-attr]

    def __del__(self) -> None:
        self.close()

    def _run(self, head: int, body: bytes) -> tuple[dict[str, Any], np.ndarray]:
        """What it says to ``body``, and its outputs; a process that is gone is started again."""
        if self._process is None:
            self._begin()
        return self._answer(struct.pack("<q", head) + body, _RUN_SECONDS)

    def _begin(self) -> dict[str, Any]:
        env = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        return self._answer(json.dumps(self._asked).encode() + b"\n", _LOAD_SECONDS)[0]

    def _answer(self, message: bytes, seconds: float) -> tuple[dict[str, Any], np.ndarray]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(message)
            process.stdin.flush()
            told = json.loads(process.stdout.readline(_LINE_BYTES))
            shape = [int(size) for size in told.get("shape", [0])]
            values = np.frombuffer(_read(process.stdout, 8 * int(np.prod(shape))), np.float64)
            if "error" not in told:
                return told, values.reshape(shape)
        except (OSError, ValueError) as error:
            process.kill()
            why = f"took longer than {seconds:g} s" if late.is_set() else _death(process.wait())
            self.close()
            raise StageFailure("ModelCorrupt", f"{self._path} {why}") from error
        finally:
            timer.cancel()
        raise StageFailure("ModelCorrupt", str(told["error"]))


class Sandboxed(_Process):
    """A model of rows of numbers; ``choices``: the features that it may take, in their orders.

    ``features``: those that it takes; ``probabilities``: what it gives are those of classes.
    Raises StageFailure(ModelCorrupt)."""

    def __init__(self, kind: str, path: Path, choices: Sequence[Sequence[str]]) -> None:
        super().__init__(path, kind=kind, choices=[[*one] for one in choices])
        self.features: Sequence[str] = self._told["features"]
        self.probabilities: bool = self._told["probabilities"]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Of float32 [n, d] outputs float64 [n, ...]. Raises StageFailure(ModelCorrupt)."""
        rows = np.ascontiguousarray(features, dtype=np.float32)
        return self._run(len(rows), rows.tobytes())[1]


class SandboxedTexts(_Process):
    """A classifier of texts, by its config.json; ``labels``: what its outputs are of.

    Raises StageFailure(ModelCorrupt)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, kind=TEXT_CLASSIFIER)
        self.labels: Sequence[str] = self._told["labels"]
        self.most: int | None = self._told["most"]

    def predict(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Logits float64 [n, labels], and how many texts were longer than the ``most`` tokens that
        it takes. Raises StageFailure(ModelCorrupt)."""
        body = json.dumps([*texts]).encode()
        told, logits = self._run(len(body), body)
        return logits, told["cut"]


def _read(stream: Any, size: int) -> bytearray:
    """Exactly so many bytes. Raises ValueError at the end before."""
    found = bytearray(size)
    if stream.readinto(found) != size:
        raise ValueError("it ended too early")
    return found


def _death(code: int) -> str:
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE):
        return f"crashed what runs it ({signal.Signals(-code).name})"
    if code == -signal.SIGKILL:
        return "was killed as it ran: it may want more memory than there is"
    return f"ended the process that runs it (exit code {code})"
