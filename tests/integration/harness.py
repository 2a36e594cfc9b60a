"""The operator as a process of its own, and a namespace seen through an admin's eyes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import ControlPlane
from tests.cluster.wait import wait_for

JOBS = "apis/trainingjob.dev/v1alpha1"
ROOTS = {
    "trainingjobs": JOBS,
    "networkpolicies": "apis/networking.k8s.io/v1",
    "deployments": "apis/apps/v1",
    "poddisruptionbudgets": "apis/policy/v1",
    "inferenceservices": "apis/serving.kserve.io/v1beta1",
}
DEADLINE_SECONDS = 60.0
# `list` is a method of Namespace.
Objects = list[dict[str, Any]]
Names = list[str]


def manifest(name: str = "digits", **spec: Any) -> dict[str, Any]:
    """A three-stage job on the pandas engine, with a gang of two; ``spec`` replaces its parts."""
    base: dict[str, Any] = {
        "task": {"type": "classification", "label": "target"},
        "storage": {"uri": "pvc://training/runs"},
        "preprocess": {
            "engine": "pandas",
            "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
            "split": {"test": 0.2},
        },
        "train": {"nodes": 2, "model": {"mlp": {"hidden": [64]}}},
        "evaluate": {"gates": [{"metric": "accuracy", "min": 0.5}]},
    }
    base |= spec
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {key: value for key, value in base.items() if value is not None},
    }


def gang(nodes: int, name: str = "gang", **spec: Any) -> dict[str, Any]:
    """A job that is one gang."""
    train = {"nodes": nodes, "model": {"mlp": {"hidden": [64]}}}
    train["dataset"] = {"uri": "pvc://datasets/digits"}
    return manifest(name, preprocess=None, evaluate=None, **({"train": train} | spec))


class Namespace:
    """Objects of one namespace."""

    def __init__(self, control_plane: ControlPlane, name: str) -> None:
        self.control_plane = control_plane
        self.name = name

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        root = ROOTS.get(kind, "api/v1")
        return "/".join(filter(None, (f"/{root}/namespaces/{self.name}/{kind}", name, sub)))

    def create(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.control_plane.request("POST", self.path(kind), obj)
        assert status == 201, answer
        return answer

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        status, answer = self.control_plane.request("GET", self.path(kind, name))
        assert status in (200, 404), answer
        return answer if status == 200 else None

    def list(self, kind: str, selector: str = "") -> Objects:
        query = f"?labelSelector={selector}" if selector else ""
        status, answer = self.control_plane.request("GET", self.path(kind) + query)
        assert status == 200, answer
        items: Objects = answer["items"]
        return items

    def patch(self, kind: str, name: str, body: Any, sub: str = "") -> dict[str, Any]:
        status, answer = self.control_plane.request("PATCH", self.path(kind, name, sub), body)
        assert status == 200, answer
        return answer

    def delete(self, kind: str, name: str, **options: Any) -> None:
        status, answer = self.control_plane.request("DELETE", self.path(kind, name), options)
        assert status in (200, 202, 404), answer

    def run(self, job: dict[str, Any]) -> str:
        """Create a job; its name."""
        return str(self.create("trainingjobs", job)["metadata"]["name"])

    def job(self, name: str) -> dict[str, Any]:
        found = self.get("trainingjobs", name)
        assert found is not None, f"job {name} is gone"
        return found

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.job(name).get("status") or {}
        return status

    def stage(self, name: str, stage: str) -> dict[str, Any]:
        stages = self.status(name).get("stages") or ()
        return next((found for found in stages if found["name"] == stage), {})

    def pods(self) -> Names:
        return sorted(pod["metadata"]["name"] for pod in self.list("pods"))

    def wait_for_pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = wait_for(f"pod {name}", lambda: self.get("pods", name))
        return found

    def wait(self, name: str, seconds: float = DEADLINE_SECONDS, **expected: Any) -> dict[str, Any]:
        """The status, once its fields are as expected."""
        last: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal last
            last = self.status(name)
            return all(last.get(field) == value for field, value in expected.items())

        try:
            wait_for(f"{expected}", reached, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the status is {last}") from None
        return last

    def events(self, name: str) -> Objects:
        """Core v1 Events about the job, in their order."""
        found = [e for e in self.list("events") if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))


class Operator:
    """``trainingjob-operator`` as a process; started and stopped as often as a test likes."""

    def __init__(
        self,
        kubeconfig: Path,
        namespaces: Sequence[str] = (),
        arguments: Sequence[str] = (),
        times: Mapping[str, float] | None = None,  # settings.Options, where nobody can set them
    ) -> None:
        script = str(Path(sys.executable).with_name("trainingjob-operator"))
        hurried = [sys.executable, "-m", "tests.integration.hurried"]
        self._environment = os.environ | ({} if times is None else {"HURRIED": json.dumps(times)})
        self._command = [
            *([script] if times is None else hurried),
            f"--kubeconfig={kubeconfig}",
            *(f"--namespace={name}" for name in namespaces),
            *arguments,
        ]
        handle, log = tempfile.mkstemp(prefix="operator-", suffix=".log")
        os.close(handle)
        self._log = Path(log)
        weakref.finalize(self, self._log.unlink, missing_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready: bool = True) -> Operator:
        self.port = _free_port()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, f"--http-port={self.port}"],
                stderr=log,
                stdout=log,
                env=self._environment,
            )
        if ready:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self._process is not None and self._process.poll() is None, self.log()
            return self.http("/readyz")[0] == 200

        wait_for("the operator to be ready", ready)

    def http(self, path: str) -> tuple[int, str]:
        """0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [
            line
            for line in self.http("/metrics")[1].splitlines()
            if line.partition("{")[0].partition(" ")[0] == name
            and all(label in line for label in wanted)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Until it has ended by itself; its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait()


@contextlib.contextmanager
def operator(
    control_plane: ControlPlane,
    *namespaces: str,
    user: str = "admin",
    arguments: Sequence[str] = (),
) -> Iterator[Operator]:
    """An operator that serves these namespaces, or all."""
    made = Operator(control_plane.kubeconfig(user), namespaces, arguments)
    try:
        yield made.start()
    finally:
        made.kill()
    log = made.log()
    # A bug that is caught and retried is a bug all the same.
    assert "Traceback" not in log, log


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
