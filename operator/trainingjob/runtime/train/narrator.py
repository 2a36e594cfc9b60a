"""How training goes, for people: lines of the log, and reports for $STATUS_URL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ..base.log import log
from ..base.progress import Reporter
from .checkpoints import Checkpoints
from .parts import Stretch

T = TypeVar("T")

_LOG_SECONDS = 5.0


@dataclass
class Position:
    """Where training stands; with the tensors, all there is to resume from."""

    epoch: int = 0
    batch: int = 0  # batches of the epoch that are done
    step: int = 0
    loss_sum: float = 0.0  # over the rows, or tokens, of the epoch so far
    weight: float = 0.0  # of these
    norm: float | None = None  # of the newest gradient that the ranks told each other of
    best_loss: float | None = None  # early stopping
    bad_epochs: int = 0
    history: list[dict[str, float | int | None]] = field(default_factory=list)


class Meter:
    """What this process has done since its first step, which takes longer and does not count."""

    def __init__(self) -> None:
        self._began: float | None = None
        self.steps = self._rows = 0
        self._weight = self._waited = 0.0

    def step(self, weight: float, rows: int) -> None:
        """After a step of so many rows, and of this weight."""
        if self._began is None:
            self._began, self._waited = time.monotonic(), 0.0
        else:
            self.steps, self._rows = self.steps + 1, self._rows + rows
            self._weight += weight

    def waiting(self, items: Iterator[T]) -> Iterator[T]:
        """The same items; how long each is waited for counts."""
        while True:
            begin = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._waited += time.monotonic() - begin
            yield item

    @property
    def seconds(self) -> float:
        """Since then."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Weight a second."""
        return self._weight / max(1e-9, self.seconds)

    @property
    def rows(self) -> float:
        """Rows a second."""
        return self._rows / max(1e-9, self.seconds)

    @property
    def waited(self) -> float:
        """The share of time in which data was waited for."""
        return min(1.0, self._waited / max(1e-9, self.seconds)) if self._began else 0.0


class Narrated(Protocol):
    """What a narrator asks of a trainer."""

    position: Position
    epochs: int
    total_steps: int
    checkpoints: Checkpoints
    meter: Meter

    def figures(self) -> dict[str, float]:
        """What else is reported."""

    @property
    def epoch_loss(self) -> float: ...
    @property
    def rate(self) -> float: ...


class Narrator:
    """Rank 0 only."""

    def __init__(self, trainer: Narrated, stretch: Stretch | None = None) -> None:
        self._trainer, self._stretch = trainer, stretch or Stretch()
        self._reporter = Reporter()
        self._logged = time.monotonic()
        self._validation_loss: float | None = None

    def step(self) -> None:
        """After a step."""
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self._log()
        if self._reporter.due():
            self._report()

    def epoch(self, validation_loss: float | None) -> None:
        """At the end of an epoch."""
        self._validation_loss = validation_loss
        self._log()
        if self._reporter.due():
            self._report()

    def stopped(self) -> None:
        """Before the last epoch: that a checkpoint was saved is worth a report."""
        self._report()
        self.end()

    def close(self) -> None:
        """After the last epoch."""
        self._report(over=True)
        self.end()

    def end(self) -> None:
        """No reports any more."""
        self._reporter.close()

    def _log(self) -> None:
        self._logged = time.monotonic()
        trainer = self._trainer
        position = trainer.position
        epochs = f"epoch {min(position.epoch + 1, trainer.epochs)}/{trainer.epochs}"
        steps = f"step {position.step}/{trainer.total_steps}"
        line = f"{self._stretch.words}{epochs} {steps} loss {trainer.epoch_loss:.6g}"
        if self._validation_loss is not None:
            line += f" val {self._validation_loss:.6g}"
        line += f" lr {trainer.rate:.6g}"
        found = trainer.figures()
        if (speed := found.get("tokens_per_second")) is not None:
            line += f" {speed:.0f} tokens/s"
        if (used := found.get("model_flops_utilisation")) is not None:
            line += f" mfu {used:.1%}"
        log(line)

    def _report(self, *, over: bool = False) -> None:
        trainer, stretch = self._trainer, self._stretch
        position = trainer.position
        total = stretch.total or trainer.total_steps
        step = stretch.begins + position.step
        # It may have stopped early.
        done = stretch.begins + trainer.total_steps if over else step
        left = total - done
        meter = trainer.meter
        eta = meter.seconds / meter.steps * left if meter.steps else None
        metrics: dict[str, float] = {
            "epoch": min(position.epoch + 1, trainer.epochs),
            "step": step,
            "total_steps": total,
            "loss": trainer.epoch_loss,
            **trainer.figures(),
        }
        if stretch.fold is not None:
            metrics["fold"] = stretch.fold
        if over:
            metrics["loss"] = float(position.history[-1]["loss"] or 0.0)
            metrics["epoch"] = len(position.history)
        if self._validation_loss is not None:
            metrics["validation_loss"] = self._validation_loss
        saved = trainer.checkpoints.complete_step if trainer.checkpoints else None
        if saved is not None or stretch.begins:
            metrics["checkpoint_step"] = stretch.begins + (saved or 0)
        self._reporter.report(done / total, metrics, eta=0.0 if left <= 0 else eta)
