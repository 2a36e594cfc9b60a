"""Servers of accepted models as processes, as their containers start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.unit.serve.build import Made
from trainingjob.api.payload import RESULT_FILE, STAGE_PAYLOAD


class Server:
    """A server's container; ``program`` runs in place of the runtime's entry point."""

    def __init__(self, model: Made, folder: Path, program: str | None = None, **more: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.result, self.errors = folder / "termination", folder / "stderr"
        payload = model.payload(**{"host": "127.0.0.1", "port": 0, **more})
        run = ["-m", "trainingjob.runtime"] if program is None else ["-c", program]
        with self.errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *run],
                env={
                    **os.environ,
                    STAGE_PAYLOAD: payload.model_dump_json(by_alias=True, exclude_none=True),
                    RESULT_FILE: str(self.result),
                },
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.told: dict[str, Any] = {}

    def ready(self) -> int:
        """Its port, once it says that it is ready."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told = json.loads(line)
            if self.told["event"] == "ready":
                return int(self.told["address"].rpartition(":")[2])
        raise AssertionError(self.errors.read_text())

    def ended(self, number: int | None = None) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code, and the events that it tells at its end, after this signal or by
        itself."""
        if number is not None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()]

    def kill(self) -> None:
        """If it is still there."""
        self.process.kill()
        self.process.communicate()


def ask(address: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The status and the answer, which is JSON."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{address}{path}", data, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
