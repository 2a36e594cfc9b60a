"""Training pods without a cluster: ``python -m trainingjob.runtime`` with a pod's environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainingjob.api import payload as contract
from trainingjob.api.payload import JobRef, Report, TrainPayload
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.train import BuiltInModel
from trainingjob.local.node import free_port

DEADLINE_SECONDS = 90.0
RUNTIME = [sys.executable, "-m", "trainingjob.runtime"]


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return value


@dataclass
class Job:
    """A training job in ``folder``; ``spec`` as in the manifest's ``train``."""

    folder: Path
    spec: dict[str, Any]
    task: str = "classification"
    label: str = "label"
    uid: str = "uid-1"
    needs_model: bool = False
    env: dict[str, str] = field(default_factory=dict)
    main: list[str] = field(default_factory=lambda: list(RUNTIME))
    # How much later than the others node 0 begins.
    late_seconds: float = 0.0

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def nodes(self) -> int:
        return self.spec.get("nodes", 1)

    def payload(self) -> TrainPayload:
        fields = {
            "nodes": 1,
            "procsPerNode": 1,
            "seed": 0,
            **self.spec,
            "job": JobRef(namespace="default", name="job", uid=self.uid).to_dict(),
            "attempt": 1,
            "task": Task(type=self.task, label_column=self.label).to_dict(),
            "needsModel": self.needs_model,
            "dataset": f"file://{self.dataset}",
            "checkpoints": f"file://{self.checkpoints}",
            "modelUri": f"file://{self.model}",
        }
        return TrainPayload.model_validate_json(json.dumps(fields))

    def environment(self, node: int, port: int) -> dict[str, str]:
        """As the operator sets it (core/stages/train/pods.py) and a local node completes it."""
        payload = self.payload()
        processes = payload.procs_per_node
        world = payload.nodes * processes
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(world),
            "NODE_RANK": str(node),
            "PET_NNODES": str(payload.nodes),
            "PET_NPROC_PER_NODE": str(processes),
            "PET_NODE_RANK": str(node),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            contract.INPUT_DIR: str(self.dataset),
            contract.OUTPUT_DIR: str(self.model),
            contract.CHECKPOINT_DIR: str(self.checkpoints),
            contract.SEED: str(payload.seed),
            contract.RESULT_FILE: str(self.result_file(node)),
            contract.STAGE_PAYLOAD: json.dumps(payload.to_dict()),
            "OMP_NUM_THREADS": "1",
        }
        if processes == 1:
            env |= {"RANK": str(node), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        return env | self.env

    def result_file(self, node: int) -> Path:
        return self.folder / f"result-{node}.json"


class Pods:
    """The running nodes of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        job.folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        started = {}
        for node in sorted(range(job.nodes), reverse=job.late_seconds > 0):
            job.result_file(node).unlink(missing_ok=True)
            if node == 0:
                time.sleep(job.late_seconds)
            with self.log_file(node).open("wb") as log:
                started[node] = subprocess.Popen(
                    job.main,
                    env=job.environment(node, port),
                    cwd=job.folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        self.processes = [started[node] for node in range(job.nodes)]

    def log_file(self, node: int) -> Path:
        return self.job.folder / f"log-{node}.txt"

    def log(self, node: int = 0) -> str:
        return self.log_file(node).read_text(errors="replace")

    def logs(self) -> str:
        return "\n".join(f"--- node {n}\n{self.log(n)}" for n in range(self.job.nodes))

    def children(self, node: int = 0) -> list[int]:
        """The ranks' process ids, in the order of their ranks."""
        pid = self.processes[node].pid
        try:
            return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def wait_for(self, text: str, node: int = 0) -> None:
        """Until the node's log has the text."""

        def seen() -> bool:
            assert self.processes[node].poll() is None or text in self.log(node), self.logs()
            return text in self.log(node)

        until(seen, f"{text!r} in the log")

    def terminate(self, node: int = 0) -> None:
        self.processes[node].send_signal(signal.SIGTERM)

    def wait(self) -> list[Report]:
        """What each node told at its end."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        for process in self.processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the pods hang\n{self.logs()}") from None
        return [self.report(node) for node in range(self.job.nodes)]

    def report(self, node: int) -> Report:
        file = self.job.result_file(node)
        return Report.model_validate_json(file.read_bytes()) if file.exists() else Report()


@contextmanager
def pods(job: Job) -> Iterator[Pods]:
    """Start the job's nodes; none is left at the end."""
    running = Pods(job)
    try:
        yield running
    finally:
        for process in running.processes:
            process.kill()
            process.wait()


def train(job: Job) -> list[Report]:
    """Run the job to its end."""
    with pods(job) as running:
        return running.wait()


def succeed(job: Job) -> contract.StageResult:
    """Run the job, which must succeed; the result of node 0."""
    with pods(job) as running:
        reports = running.wait()
        codes = [process.returncode for process in running.processes]
        assert codes == [0] * job.nodes, running.logs()
        assert all(report.result is None for report in reports[1:])
        assert reports[0].result is not None
        return reports[0].result


def fail(job: Job, node: int = 0) -> contract.StageError:
    """Run the job, which must fail; what ``node`` tells."""
    with pods(job) as running:
        report = running.wait()[node]
        assert report.error is not None, running.logs()
        return report.error


def model_of(job: Job) -> dict[str, bytes]:
    """Every file of it, those of folds' models included."""
    return {
        path.relative_to(job.model).as_posix(): path.read_bytes()
        for path in job.model.rglob("*")
        if path.is_file()
    }


def mlp(**fields: Any) -> dict[str, Any]:
    """A built-in model as JSON."""
    return BuiltInModel.model_validate({"mlp": fields}).to_dict()
