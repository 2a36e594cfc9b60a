"""The built-in training loop: data-parallel, resumable bit for bit.

The weights and gradients are one flat vector each, of which the network's parameters are views:
one all_reduce a step shares the gradients, the loss and the request to stop; the optimizer works
on one tensor; a checkpoint is three.

A regression's target is standardised by the training split's mean and deviation, so that one
learning rate suits labels of any scale; losses are told in the label's own unit (squared), or in
that of its transform. Weights count in the training loss alone, not in the validation loss.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload

from ..base.errors import StageFailure
from ..model.mlp import ModelConfig, build
from .checkpoints import Checkpoints, Saved
from .data import Split, mix
from .gang import Gang
from .narrator import Narrator, Position, Stretch
from .optim import make_optimizer, rate_factor

# Reading a number from a GPU waits for it: there the loss is looked at every so many steps.
_CHECK_EVERY_CUDA = 16
_VALIDATION_ROWS = 8192


class FlatNetwork:
    """A network whose parameters are views of ``weights`` and their gradients of ``gradients``.

    ``gradients`` has two more elements at its end: the step's loss and the request to stop.
    """

    def __init__(self, network: nn.Sequential, device: torch.device) -> None:
        self.module = network.to(device)
        parameters = list(network.parameters())
        size = sum(parameter.numel() for parameter in parameters)
        self.weights = torch.empty(size, device=device)
        self.gradients = torch.zeros(size + 2, device=device)
        self.gradient = self.gradients[:size]
        self.tail = self.gradients[size:]
        offset = 0
        for parameter in parameters:
            part = slice(offset, offset + parameter.numel())
            view = self.weights[part].view_as(parameter)
            view.copy_(parameter.data)
            parameter.data = view
            parameter.grad = self.gradients[part].view_as(parameter)
            offset = part.stop


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    weights: dict[str, Tensor]
    history: list[dict[str, float | int | None]]
    steps: int
    epochs: int
    loss: float
    validation_loss: float | None


class Trainer:
    """One rank of the gang. ``checkpoints`` is None on all but rank 0."""

    def __init__(
        self,
        payload: TrainPayload,
        config: ModelConfig,
        training: Split,
        validation: Split,
        gang: Gang,
        device: torch.device,
        *,
        bf16: bool,
        checkpoints: Checkpoints | None,
        stopping: Callable[[], bool],
        stretch: Stretch | None = None,
    ) -> None:
        self.payload, self.config, self.gang, self.device = payload, config, gang, device
        self.training, self.validation = training, validation
        self.checkpoints, self.stopping = checkpoints, stopping
        self.epochs = payload.epochs or 10
        self.total_steps = self.epochs * training.steps
        torch.manual_seed(payload.seed)
        self.net = FlatNetwork(build(config), device)
        self.optimizer = make_optimizer(payload.optimizer, self.net.weights, self.net.gradient)
        self.best = self.net.weights.clone() if payload.early_stopping else None
        self.position = Position()
        # Of the epoch so far: the loss times rows, and requests to stop.
        self.totals = torch.zeros(2, dtype=torch.float64, device=device)
        self.loss_scale = config.target_std**2
        self.dropout_seed = mix(payload.seed, gang.rank) if config.mlp.dropout > 0 else None
        self.check_every = 1 if device.type == "cpu" else _CHECK_EVERY_CUDA
        self.autocast: Callable[[], contextlib.AbstractContextManager[Any]] = (
            (lambda: torch.autocast(device.type, torch.bfloat16))
            if bf16
            else contextlib.nullcontext
        )
        self.stretch = stretch or Stretch()
        self.narrator = Narrator(self, self.stretch) if gang.rank == 0 else None

    def run(self) -> Trained:
        """Train to the end.

        Raises StageFailure: LossNotFinite, PeerLost, Disrupted when asked to stop, and what
        reading data and writing checkpoints raise.
        """
        self._resume()
        position = self.position
        while position.epoch < self.epochs:
            self.net.module.train()
            for x, y, weights, total in self.training.batches(
                self.payload.seed,
                position.epoch,
                self.gang.rank,
                self.gang.world,
                start=position.batch,
            ):
                self._step(x, y, weights, total)
            if self._end_epoch():
                break
        if self.checkpoints:
            self.checkpoints.wait()
        if self.narrator:
            self.narrator.close()
        return self._trained()

    def _step(self, x: Tensor, y: Tensor, weights: Tensor | None, total: float) -> None:
        """One optimizer step: this rank's share of a global batch, whose rows weigh ``total``."""
        position, net = self.position, self.net
        net.gradients.zero_()
        if self.stopping():
            net.tail[1] = 1.0
        if len(y):
            if self.dropout_seed is not None:
                self._seed_dropout(self.dropout_seed + position.step)
            # The sum over all rows of the gang over their weight: shares may differ in both. Where
            # all of a batch weigh nothing, the sum is 0, too.
            loss = self._loss(x, y, weights) / (total or 1.0)
            loss.backward()  # type: ignore[no-untyped-call]
            net.tail[0] = loss.detach()
        self.gang.all_reduce(net.gradients)
        self.totals.add_(net.tail, alpha=total or 1.0)
        position.weight += total
        step = position.step + 1
        due = self.checkpoints is not None and self.checkpoints.due(step)
        check = step % self.check_every == 0
        if check or due:
            position.loss_sum, stop = self.totals.tolist()
            self._must_be_finite(position.loss_sum, step)
        self.optimizer.step(step, self._rate(position.step))
        position.step, position.batch = step, position.batch + 1
        # All ranks see the request at the same step.
        if check and stop:
            self._stop()
        if due:
            self._save()
        if check and self.narrator:
            self.narrator.step()

    def _loss(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Summed over the rows: cross-entropy, or squared error of the standardised target."""
        reduction = "sum" if weights is None else "none"
        with self.autocast():
            out = self.net.module(x)
        out = out.float()
        if self.config.task == "classification":
            loss = F.cross_entropy(out, y, reduction=reduction)
        else:
            loss = F.mse_loss(out.squeeze(1), y, reduction=reduction)
        return loss if weights is None else loss @ weights

    def _seed_dropout(self, seed: int) -> None:
        """From rank and step alone: a resumed run draws the same masks."""
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.cuda.manual_seed(seed)

    def _end_epoch(self) -> bool:
        """Validate, tell, go on to the next epoch; True to stop early."""
        position = self.position
        position.loss_sum = float(self.totals[0])
        self._must_be_finite(position.loss_sum, position.step)
        validation_loss = self._validate()
        position.history.append(
            {
                "epoch": position.epoch + 1,
                "step": position.step,
                "loss": self.epoch_loss,
                "validation_loss": validation_loss,
                "learning_rate": self.rate,
            }
        )
        stop = self._judge(validation_loss)
        if self.narrator:
            self.narrator.epoch(validation_loss)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum = position.weight = 0.0
        self.totals[0] = 0
        return stop

    @torch.inference_mode()
    def _validate(self) -> float | None:
        """The mean loss over the validation split; None without one."""
        if self.validation.rows == 0:
            return None
        self.net.module.eval()
        total = torch.zeros(1, dtype=torch.float64, device=self.device)
        for x, y in self.validation.share(self.gang.rank, self.gang.world, _VALIDATION_ROWS):
            if len(y):
                total += self._loss(x, y)
        self.gang.all_reduce(total)
        loss = float(total) / self.validation.rows * self.loss_scale
        if not math.isfinite(loss):
            raise StageFailure(
                "LossNotFinite",
                f"the validation loss became {loss} in epoch {self.position.epoch + 1}",
            )
        return loss

    def _judge(self, validation_loss: float | None) -> bool:
        """Early stopping: keep the best weights; True when patience has run out."""
        rule, position = self.payload.early_stopping, self.position
        if rule is None or validation_loss is None or self.best is None:
            return False
        if position.best_loss is None or validation_loss < position.best_loss - rule.min_delta:
            position.best_loss, position.bad_epochs = validation_loss, 0
            self.best.copy_(self.net.weights)
            return False
        position.bad_epochs += 1
        return position.bad_epochs >= rule.patience

    def _rate(self, step: int) -> float:
        """The learning rate of a step (from 0) of the present epoch."""
        factor = rate_factor(self.payload.schedule, step, self.total_steps, self.position.epoch)
        return self.optimizer.rate * factor

    @property
    def rate(self) -> float:
        """The learning rate of the newest step."""
        return self._rate(max(0, self.position.step - 1))

    @property
    def epoch_loss(self) -> float:
        """Mean over the epoch's rows so far by their weights, in the unit of what is learned."""
        weight = self.position.weight
        if self.training.weights is None:  # checkpoints of earlier versions do not have it
            weight = max(1, min(self.position.batch * self.training.batch, self.training.rows))
        return self.position.loss_sum / (weight or 1.0) * self.loss_scale

    def _must_be_finite(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            near = "at" if self.check_every == 1 else "at or shortly before"
            raise StageFailure(
                "LossNotFinite",
                f"the loss became {loss} in epoch {self.position.epoch + 1} {near} step {step}",
            )

    def _stop(self) -> None:
        """A rank was asked to stop: all save and end."""
        step = self.position.step
        saved = f"checkpoint step-{step:09}"
        if self.checkpoints:
            self._save()
            self.checkpoints.wait()
        if self.narrator:
            self.narrator.stopped()
        raise StageFailure("Disrupted", f"stopped by SIGTERM at step {step}; {saved}")

    def _save(self) -> None:
        assert self.checkpoints is not None
        self._weights_must_be_finite()
        tensors = {name: value.cpu().clone() for name, value in self._tensors().items()}
        self.checkpoints.save(self.position.step, Saved(asdict(self.position), tensors))

    def _weights_must_be_finite(self) -> None:
        if not bool(self.net.weights.isfinite().all()):
            raise StageFailure(
                "LossNotFinite", f"the weights are not finite after step {self.position.step}"
            )

    def _tensors(self) -> dict[str, Tensor]:
        """All state that is tensors, by name."""
        found = {"weights": self.net.weights}
        if self.best is not None:
            found["best"] = self.best
        return found | {f"optimizer.{name}": t for name, t in self.optimizer.state.items()}

    def _resume(self) -> None:
        """Rank 0 reads the newest checkpoint, if any; all ranks begin with its state.

        Weights are broadcast also when there is none: machines may draw different ones.
        """
        saved = self.checkpoints.resume() if self.checkpoints else None
        position = self.gang.broadcast_json(saved and saved.position)
        tensors = self._tensors()
        for name in sorted(tensors) if position else ["weights"]:
            if saved:
                tensors[name].copy_(saved.tensors[name])
            self.gang.broadcast(tensors[name])
        if position:
            self.position = Position(**position)
            self.totals[0] = self.position.loss_sum

    def _trained(self) -> Trained:
        position = self.position
        last = position.history[-1]
        if self.best is not None and position.best_loss is not None:
            self.net.weights.copy_(self.best)
        self._weights_must_be_finite()
        validation_loss = last["validation_loss"]
        if position.best_loss is not None:
            validation_loss = position.best_loss
        return Trained(
            weights={name: v.cpu() for name, v in self.net.module.state_dict().items()},
            history=position.history,
            steps=position.step,
            epochs=position.epoch,
            loss=float(last["loss"] or 0.0),
            validation_loss=validation_loss,
        )
