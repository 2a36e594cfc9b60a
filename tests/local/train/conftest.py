"""Training without pods: rank 0 in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainingjob.runtime.gang import reports
from trainingjob.runtime.train import worker
from trainingjob.runtime.train.loop import Trainer

from .gang import Job, model_of
from .language import environment, make_dataset, payload_of


class Killed(BaseException):
    """Stands for SIGKILL where the process has to live on."""


@pytest.fixture
def in_process(monkeypatch):
    """Run rank 0 of a gang of one in this process; ``at``: the step after which it is killed, of
    the model of this ``fold``."""
    handler = signal.getsignal(signal.SIGTERM)
    step = Trainer._step

    def run(job: Job, at: int | None = None, fold: int | None = None) -> dict[str, bytes] | None:
        for name, value in job.environment(0, 1).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(reports.REPORTS_DIR, str(job.folder))

        def step_and_die(self, *batch):
            step(self, *batch)
            if (self.stretch.fold, self.position.step) == (fold, at):
                self.checkpoints.finish()  # the writing thread cannot be killed
                raise Killed

        monkeypatch.setattr(Trainer, "_step", step_and_die)
        try:
            worker.work(job.payload())
        except Killed:
            return None
        return model_of(job)

    yield run
    signal.signal(signal.SIGTERM, handler)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains in this process."""

    def train(**more: Any) -> Path:
        folder = tmp_path_factory.mktemp("alone")
        before, debug = dict(os.environ), torch.get_deterministic_debug_mode()
        os.environ |= environment(0, 1, 1)
        try:
            worker.work(payload_of(dataset, folder, **more))
        finally:
            torch.set_deterministic_debug_mode(debug)
            os.environ.clear()
            os.environ |= before
        return folder

    return train


@pytest.fixture(scope="module")
def model(trained: Callable[..., Path]) -> Path:
    return trained() / "model"
