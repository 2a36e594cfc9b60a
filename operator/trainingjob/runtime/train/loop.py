"""The built-in training loop, of every family of models and any number of ranks.

What a step learns depends on (seed, epoch, step) alone: a rank computes its share of each global
batch, and losses and gradients are sums over the batch's rows, or tokens, whatever the shares. With
another number of ranks a run goes on from its checkpoints, to rounding; with the same, bit for bit
on CPUs, and to rounding on GPUs, some of whose kernels sum up in any order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob.api.base import camel
from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.train import CHECKPOINTED

from ..base.errors import StageFailure
from ..gang.collectives import Gang
from ..storage import resolve
from .budget import budget_of, rate_factor, rows_of_a_part
from .checkpoints import Checkpoints
from .data import mix
from .devices import device_name, peak_flops, peak_memory, uses_bf16
from .families import Family, Share
from .memory import PLACING, enough_memory
from .narrator import Meter, Narrator, Position
from .optim import Optimizer
from .parts import Stretch
from .placement import TOLD, clip, parts, place

# Reading a number from a GPU waits for it: there the ranks look at each other every so many steps.
_CHECK_EVERY_CUDA = 16


@dataclass(frozen=True)
class Trained:
    """What came of it; the network has the weights to keep."""

    history: list[dict[str, float | int | None]]
    steps: int
    epochs: int
    loss: float
    validation_loss: float | None


class Trainer:
    """One rank of the gang."""

    def __init__(
        self,
        payload: TrainPayload,
        family: Family,
        gang: Gang,
        device: torch.device,
        *,
        stopping: Callable[[], bool],
        stretch: Stretch | None = None,
        hopeless: Callable[[list[float]], bool] | None = None,
    ) -> None:
        """``hopeless``: of the validation losses so far, whether to end early."""
        self.payload, self.family, self.gang, self.device = payload, family, gang, device
        self.stopping, self.hopeless = stopping, hopeless
        self.pruned = False
        for split in (family.training, family.validation):
            split.read_with(gang)
        manifest = family.training.source.manifest
        budget = budget_of(payload, manifest)
        self.epochs, self.total_steps = budget.epochs, budget.steps
        bf16 = gang.all_can(uses_bf16(payload, device))
        self.device_name = device_name(device, gang.world, bf16)
        with enough_memory(payload, family, gang, device, PLACING):
            self.net = place(payload, family, gang, device, bf16=bf16)
            self.optimizer = Optimizer(payload.optimizer, self.net.weights)
            # Weights that are kept beside those of the newest step.
            self.best = _copies(self.net.weights) if payload.early_stopping else None
            self.average = _copies(self.net.weights) if payload.ema else None
        self.flops = family.flops(self.net.module)
        self.most_flops = peak_flops(self.device_name, gang.world) if bf16 else None
        self.position = Position()
        # Since the ranks looked at each other: the summed loss of this rank, and the weight of all.
        self.own_loss = torch.zeros((), dtype=torch.float64, device=device)
        self.new_weight = 0.0
        # A step of a language model takes seconds: a look costs little, and a signal waits.
        often = device.type == "cpu" or family.tokens is not None
        self.check_every = 1 if often else _CHECK_EVERY_CUDA
        draws = any(isinstance(one, nn.Dropout) for one in self.net.module.modules())
        self.dropout_seed = mix(payload.seed, gang.rank) if draws else None
        self.checkpoints = Checkpoints(
            resolve(payload.checkpoints),
            payload.checkpoint,
            payload.job.uid,
            _told_by_first(gang, partial(_fingerprint, payload, family)),
            gang,
            device,
            self.net.part,
        )
        self.stretch = stretch or Stretch()
        self.meter = Meter()
        self.narrator = Narrator(self, self.stretch) if gang.rank == 0 else None

    @property
    def parameters(self) -> int:
        """Numbers that are learned, on all ranks together."""
        return sum(math.prod(shape) for shape in self.net.shapes.values())

    def figures(self) -> dict[str, float]:
        """How fast, and how far: for status and the log."""
        found = {
            "data_wait": self.meter.waited,
            "peak_memory_bytes": float(peak_memory(self.device)),
        }
        if self.position.norm is not None:
            found["gradient_norm"] = self.position.norm
        if self.family.tokens is not None:
            found["tokens_per_second"] = self.meter.rate
            if self.flops is not None and self.most_flops is not None:
                # Of a row all tokens are computed, however many of them are to be learned.
                used = self.flops * self.meter.rows / self.most_flops
                found["model_flops_utilisation"] = used
        return found

    def run(self) -> Trained:
        """Train to the end.

        Raises StageFailure: LossNotFinite, PeerLost, OutOfMemory, Disrupted when asked to stop, and
        what reading data and writing checkpoints raise.
        """
        with enough_memory(self.payload, self.family, self.gang, self.device, "training"):
            self._resume()
            position = self.position
            while position.epoch < self.epochs:
                self.net.module.train()
                for x, y, weights, total in self._batches():
                    self._step((x, y, weights), total)
                if self._end_epoch():
                    break
            self.checkpoints.finish()
        if self.narrator:
            self.narrator.close()
        return self._trained()

    def give_up(self) -> None:
        """After a LossNotFinite, which all ranks raise at the same step: nothing is written any
        more."""
        self.checkpoints.finish()
        if self.narrator:
            self.narrator.end()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None, float]]:
        """What is left of the epoch, or of the budget."""
        position = self.position
        batches = self.family.training.batches(
            self.payload.seed,
            position.epoch,
            self.gang.rank,
            self.gang.world,
            start=position.batch,
        )
        yield from itertools.islice(self.meter.waiting(batches), self.total_steps - position.step)

    def _step(self, share: Share, total: float) -> None:
        """One optimizer step: this rank's share of a global batch, whose rows weigh ``total``."""
        position, net, training = self.position, self.net, self.family.training
        if self.dropout_seed is not None:
            self._seed_dropout(self.dropout_seed + position.step)
        net.clear()
        rows = min(training.batch, training.rows - position.batch * training.batch)
        for part in self._parts(share, rows, rows_of_a_part(self.payload, self.gang.world)):
            with net.computing():
                loss = self.family.loss(net.module, *part)
            # Where all of a batch weigh nothing, the sum is 0, too.
            (loss * (net.scale / (total or 1.0))).backward()  # type: ignore[no-untyped-call]
            self.own_loss += loss.detach()
        self.new_weight += total
        step, most = position.step + 1, self.payload.gradient_clip
        check = self._checks(step)
        told = self._tell(step, check=check) if check or most is not None else None
        net.share(told)
        stop = due = False
        if check and told is not None:
            stop, due = self._look_around(told, step)
            self.position.norm = math.sqrt(told[-1])
        gradients = net.gradients
        if most is not None and told is not None:
            clip(gradients, most, told[-1])
        self.optimizer.step(net.weights, gradients, self._rate(position.step))
        self._follow(step)
        position.step, position.batch = step, position.batch + 1
        self.meter.step(total, rows)
        if stop:
            self._stop()
        if due:
            self._save()
        if check and self.narrator:
            self.narrator.step()

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights after this step. At the beginning it is one over
        few steps: the first weights, which are random, are soon forgotten."""
        if self.average is not None and self.payload.ema is not None:
            decay = min(self.payload.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.average, self.net.weights, 1 - decay)

    def _parts(self, share: Share, rows: int, size: int) -> Iterator[Share]:
        """A share of ``rows`` in parts. Of a divided network a rank without rows of its own
        computes one that does not count."""
        x, y, weights = share
        if 0 < len(y) <= size and rows <= size * self.gang.world:
            yield share
            return
        for part in parts(rows, self.gang.world, size):
            if len(y[part]):
                yield x[part], y[part], None if weights is None else weights[part]
            elif self.net.part.count > 1:
                yield self.family.blank()

    def _seed_dropout(self, seed: int) -> None:
        """From rank and step alone: a resumed run draws the same masks."""
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.cuda.manual_seed(seed)

    def _checks(self, step: int) -> bool:
        """Whether the ranks look at each other in a step."""
        every = self.payload.checkpoint.every_steps if self.payload.checkpoint else None
        return step % self.check_every == 0 or (every is not None and step % every == 0)

    def _tell(self, step: int, *, check: bool) -> Tensor:
        """What this rank tells the others: its loss, whether to stop, whether a checkpoint is due,
        and whether its part of the last one is written; behind it is room for the gradient."""
        told = [0.0] * TOLD
        if check:
            due = self.gang.rank == 0 and self.checkpoints.due(step)
            told[1:4] = [self.stopping(), due, self.checkpoints.written]
        numbers = torch.tensor(told, dtype=torch.float64, device=self.device)
        if check:
            numbers[0] = self.own_loss
            self.own_loss.zero_()
        return numbers

    def _look_around(self, told: Tensor, step: int) -> tuple[bool, bool]:
        """What all ranks know at the same step: the loss, whether to stop, whether a checkpoint is
        due. One that all have written is published."""
        loss, stop, due, written, _ = told.tolist()
        self.position.loss_sum += loss
        self.position.weight += self.new_weight
        self.new_weight = 0.0
        self._must_be_finite(self.position.loss_sum, step)
        if written == self.net.part.count:
            self.checkpoints.finish()
        return bool(stop), bool(due)

    def _end_epoch(self) -> bool:
        """Validate, tell, go on to the next epoch; True to stop early."""
        position = self.position
        if position.batch and not self._checks(position.step):
            told = self._tell(position.step, check=True)
            self.gang.all_reduce(told)
            stop, _ = self._look_around(told, position.step)
            if stop:
                self._stop()
        validation_loss = self._validate()
        position.history.append(
            {
                "epoch": position.epoch + 1,
                "step": position.step,
                "loss": self.epoch_loss,
                "validation_loss": validation_loss,
                "learning_rate": self.rate,
                "gradient_norm": self.position.norm,
            }
        )
        stop = self._judge(validation_loss)
        if self.narrator:
            self.narrator.epoch(validation_loss)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum = position.weight = 0.0
        self.pruned = not stop and position.epoch < self.epochs and self._is_hopeless()
        return stop or self.pruned

    def _is_hopeless(self) -> bool:
        losses = [one["validation_loss"] for one in self.position.history]
        return self.hopeless is not None and self.hopeless(
            [one for one in losses if one is not None]
        )

    @torch.no_grad()
    def _validate(self) -> float | None:
        """The mean loss over the validation split; None without one."""
        split, world = self.family.validation, self.gang.world
        if split.rows == 0:
            return None
        self.net.module.eval()
        newest = self._judged()
        total = torch.zeros(1, dtype=torch.float64, device=self.device)
        weight, left = 0.0, split.rows
        for x, y, weights, its in split.batches(0, 0, self.gang.rank, world):
            rows = min(left, split.batch)
            for part in self._parts((x, y, weights), rows, math.ceil(split.batch / world)):
                with self.net.computing():
                    total += self.family.loss(self.net.module, *part)
            weight, left = weight + its, left - rows
        self.net.divide_again()
        if newest is not None:
            _copy(self.net.weights, newest)
        self.gang.all_reduce(total)
        loss = float(total) / weight * self.family.loss_scale
        if not math.isfinite(loss):
            raise StageFailure(
                "LossNotFinite",
                f"the validation loss became {loss} in epoch {self.position.epoch + 1}",
            )
        return loss

    def _judged(self) -> list[Tensor] | None:
        """Put the average in the weights' place, if there is one; the weights, to be put back."""
        if self.average is None:
            return None
        newest = _copies(self.net.weights)
        _copy(self.net.weights, self.average)
        return newest

    def _judge(self, validation_loss: float | None) -> bool:
        """Early stopping: keep the best weights; True when patience has run out."""
        rule, position = self.payload.early_stopping, self.position
        if rule is None or validation_loss is None or self.best is None:
            return False
        if position.best_loss is None or validation_loss < position.best_loss - rule.min_delta:
            position.best_loss, position.bad_epochs = validation_loss, 0
            _copy(self.best, self.average or self.net.weights)
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
        """Mean over the epoch so far by weights, in the unit of what is learned, as far as the
        ranks have looked at each other."""
        return self.position.loss_sum / (self.position.weight or 1.0) * self.family.loss_scale

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
        self._save()
        self.checkpoints.finish()
        if self.narrator:
            self.narrator.stopped()
        raise StageFailure(
            "Disrupted", f"stopped by SIGTERM at step {step}; checkpoint step-{step:09}"
        )

    def _save(self) -> None:
        self._must_be_whole()
        self.checkpoints.begin(self.position.step, asdict(self.position), self.tensors())

    def _must_be_whole(self) -> None:
        """Raises StageFailure(LossNotFinite) unless all weights are finite."""
        finite = all(bool(one.isfinite().all()) for one in self.net.weights)
        wrong = torch.tensor([float(not finite)], device=self.device)
        self.gang.all_reduce(wrong)
        if wrong.item():
            raise StageFailure(
                "LossNotFinite", f"the weights are not finite after step {self.position.step}"
            )

    def tensors(self) -> dict[str, tuple[Tensor, list[int]]]:
        """All state that is tensors, by name: this rank's part, and the shape of the whole."""
        kinds = {"weights": self.net.weights, **self.optimizer.state}
        kept = {"best": self.best, "average": self.average}
        kinds |= {name: tensors for name, tensors in kept.items() if tensors is not None}
        return {
            f"{kind}.{name}": (tensor.detach(), self.net.shapes[name])
            for kind, tensors in kinds.items()
            for name, tensor in self.net.named(tensors)
        }

    def _resume(self) -> None:
        """From the newest checkpoint, if there is one."""
        found = self.checkpoints.load(self.tensors())
        if found is None:
            self.net.same()
            return
        self.position = Position(**found)
        self.optimizer.resume(self.position.step)

    def _trained(self) -> Trained:
        position = self.position
        last = position.history[-1]
        validation_loss = last["validation_loss"]
        if self.best is not None and position.best_loss is not None:
            _copy(self.net.weights, self.best)
            validation_loss = position.best_loss
        elif self.average is not None:
            _copy(self.net.weights, self.average)
        self._must_be_whole()
        return Trained(
            history=position.history,
            steps=position.step,
            epochs=position.epoch,
            loss=float(last["loss"] or 0.0),
            validation_loss=validation_loss,
        )


def _told_by_first(gang: Gang, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What one rank reads, however long that takes: a pretrained model may be large."""
    found = read() if gang.rank == 0 else None
    gang.wait_for_first()
    told: dict[str, Any] = gang.broadcast_json(found)
    return told


def _fingerprint(payload: TrainPayload, family: Family) -> dict[str, object]:
    """What a resumed run must have in common with the one that saved."""
    chosen = payload.to_dict()
    return {
        **{name: chosen.get(name) for name in map(camel, CHECKPOINTED)},
        "dataset": family.training.source.manifest.digest,
        "rows in a window": family.training.window_rows,
        **family.fingerprint(),
    }


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [one.detach().clone() for one in tensors]


@torch.no_grad()
def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
