"""The training loop of language models: FSDP2 over the gang, torch's own optimizers.

What a step learns depends on (seed, epoch, step) alone: a rank computes its share of each global
batch in parts of one size, and losses and gradients are sums over the batch's tokens, whatever the
shares. With another number of ranks a run goes on from its checkpoints, to rounding.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1 import train as api

from ...base.errors import StageFailure
from ...model.transformer import local, negative_log_likelihood
from ..gang import Gang
from ..narrator import Narrator, Position
from ..optim import rate_factor
from .checkpoints import ShardedCheckpoints
from .data import TokenSplit

# Reading a number from a GPU waits for it: there the ranks look at each other every so many steps.
_CHECK_EVERY_CUDA = 16


def make_optimizer(
    spec: api.Optimizer | None, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    """torch's own; Adam with its defaults when ``spec`` is None. With all of its state, so that
    there is something to load it into."""
    if spec is not None and spec.sgd is not None:
        sgd = spec.sgd
        made: torch.optim.Optimizer = torch.optim.SGD(
            parameters,
            sgd.learning_rate,
            momentum=sgd.momentum,
            nesterov=sgd.nesterov,
            weight_decay=sgd.weight_decay,
        )
        names = ["momentum_buffer"] if sgd.momentum else []
    else:
        adam = (spec and (spec.adamw or spec.adam)) or api.Adam()
        kind = torch.optim.AdamW if isinstance(adam, api.AdamW) else torch.optim.Adam
        made = kind(
            parameters,
            adam.learning_rate,
            betas=(adam.beta1, adam.beta2),
            weight_decay=adam.weight_decay,
        )
        names = ["exp_avg", "exp_avg_sq"]
    for parameter in parameters:
        state = {name: torch.zeros_like(parameter) for name in names}
        if "exp_avg" in state:
            state["step"] = torch.zeros(())
        made.state[parameter] = state
    return made


class ShardedTrainer:
    """One rank of the gang."""

    def __init__(
        self,
        payload: TrainPayload,
        model: nn.Module,
        training: TokenSplit,
        validation: TokenSplit,
        gang: Gang,
        device: torch.device,
        *,
        bf16: bool,
        checkpoints: ShardedCheckpoints,
        stopping: Callable[[], bool],
    ) -> None:
        self.payload, self.model, self.gang, self.device = payload, model, gang, device
        self.training, self.validation = training, validation
        self.checkpoints, self.stopping = checkpoints, stopping
        self.epochs = payload.epochs or 1
        self.total_steps = self.epochs * training.steps
        self.micro = rows_of_a_part(payload, gang.world)
        self.parameters = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = make_optimizer(payload.optimizer, self.parameters)
        self.base_rate = float(self.optimizer.param_groups[0]["lr"])
        self.position = Position()
        # Since the ranks looked at each other: the summed loss of this rank.
        self.own_loss = torch.zeros((), dtype=torch.float64, device=device)
        self.check_every = 1 if device.type == "cpu" else _CHECK_EVERY_CUDA
        self.norm: Tensor | None = None
        # Tokens that were learned from in this process.
        self.seen = 0.0
        # FSDP2 has a policy of its own for it.
        autocast = bf16 and gang.world == 1
        self.autocast: Callable[[], contextlib.AbstractContextManager[Any]] = (
            (lambda: torch.autocast(device.type, torch.bfloat16))
            if autocast
            else contextlib.nullcontext
        )
        self.narrator = TokenNarrator(self) if gang.rank == 0 else None

    def run(self) -> Position:
        """Train to the end.

        Raises StageFailure: LossNotFinite, PeerLost, Disrupted when asked to stop, and what
        reading data and writing checkpoints raise.
        """
        found = self.checkpoints.load(self._tensors())
        if found is not None:
            self.position = Position(**found)
        position = self.position
        while position.epoch < self.epochs:
            self.model.train()
            for ids, lengths, _, total in self.training.batches(
                self.payload.seed,
                position.epoch,
                self.gang.rank,
                self.gang.world,
                start=position.batch,
            ):
                self._step(ids, lengths, total)
            self._end_epoch()
        self.checkpoints.finish()
        if self.narrator:
            self.narrator.close()
        return position

    def _step(self, ids: Tensor, lengths: Tensor, total: float) -> None:
        """One optimizer step: this rank's share of a global batch of ``total`` tokens."""
        position = self.position
        left = self.training.rows - position.batch * self.training.batch
        rows = min(self.training.batch, left)
        for part_ids, part_lengths in self._parts(ids, lengths, rows):
            with self.autocast():
                loss = negative_log_likelihood(self.model, part_ids, part_lengths)
            # FSDP2 gives the mean of the ranks' gradients.
            (loss * (self.gang.world / total)).backward()  # type: ignore[no-untyped-call]
            self.own_loss += loss.detach()
        if self.payload.gradient_clip is not None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.payload.gradient_clip)
            self.norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(position.step)
        position.weight += total
        self.seen += total
        step = position.step + 1
        check = self._checks(step)
        stop = due = False
        if check:
            stop, due = self._look_around(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        position.step, position.batch = step, position.batch + 1
        if stop:
            self._stop()
        if due:
            self._save()
        if check and self.narrator:
            self.narrator.step()

    def _parts(self, ids: Tensor, lengths: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """A share in parts, of every rank the same number: sharded layers are gathered by all. One
        without rows of its own computes a row that does not count."""
        for number in range(math.ceil(rows / self.gang.world / self.micro)):
            part = slice(number * self.micro, (number + 1) * self.micro)
            if len(ids[part]):
                yield ids[part], lengths[part]
            else:
                yield (
                    torch.zeros(1, self.training.width, dtype=torch.int32, device=self.device),
                    torch.ones(1, dtype=torch.int64, device=self.device),
                )

    def _checks(self, step: int) -> bool:
        """Whether the ranks look at each other in a step."""
        every = self.payload.checkpoint.every_steps if self.payload.checkpoint else None
        return step % self.check_every == 0 or (every is not None and step % every == 0)

    def _look_around(self, step: int) -> tuple[bool, bool]:
        """What all ranks know at the same step: the loss, whether to stop, whether a checkpoint is
        due. One that all have written is published."""
        due = self.gang.rank == 0 and self.checkpoints.due(step)
        told = torch.stack(
            [
                self.own_loss,
                *torch.tensor(
                    [self.stopping(), due, self.checkpoints.written],
                    dtype=torch.float64,
                    device=self.device,
                ),
            ]
        )
        self.gang.all_reduce(told)
        loss, stop, any_due, written = told.tolist()
        self.position.loss_sum += loss
        self.own_loss.zero_()
        self._must_be_finite(self.position.loss_sum, step)
        if written == self.gang.world:
            self.checkpoints.finish()
        return bool(stop), bool(any_due)

    def _end_epoch(self) -> None:
        """Validate, tell, go on to the next epoch."""
        position = self.position
        if not self._checks(position.step):
            stop, _ = self._look_around(position.step)
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
            }
        )
        if self.narrator:
            self.narrator.epoch(validation_loss)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum = position.weight = 0.0

    @torch.no_grad()
    def _validate(self) -> float | None:
        """The mean loss of a token of the validation split; None without one."""
        if self.validation.rows == 0:
            return None
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        left = self.validation.rows
        for ids, lengths, _, _ in self.validation.batches(0, 0, self.gang.rank, self.gang.world):
            for part_ids, part_lengths in self._parts(
                ids, lengths, min(left, self.validation.batch)
            ):
                with self.autocast():
                    sums[0] += negative_log_likelihood(self.model, part_ids, part_lengths)
                sums[1] += (part_lengths - 1).sum()
            left -= self.validation.batch
        self.gang.all_reduce(sums)
        loss = float(sums[0] / sums[1])
        if not math.isfinite(loss):
            raise StageFailure(
                "LossNotFinite",
                f"the validation loss became {loss} in epoch {self.position.epoch + 1}",
            )
        return loss

    def _rate(self, step: int) -> float:
        """The learning rate of a step (from 0) of the present epoch."""
        factor = rate_factor(self.payload.schedule, step, self.total_steps, self.position.epoch)
        return self.base_rate * factor

    @property
    def rate(self) -> float:
        """The learning rate of the newest step."""
        return self._rate(max(0, self.position.step - 1))

    @property
    def epoch_loss(self) -> float:
        """Mean over the epoch's tokens so far, as far as the ranks have looked at each other."""
        return self.position.loss_sum / (self.position.weight or 1.0)

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
        self.must_be_whole()
        self.checkpoints.begin(self.position.step, asdict(self.position), self._tensors())

    def must_be_whole(self) -> None:
        """Raises StageFailure(LossNotFinite) unless all weights are finite."""
        finite = [bool(local(one).isfinite().all()) for one in self.parameters]
        wrong = torch.tensor([float(not all(finite))], device=self.device)
        self.gang.all_reduce(wrong)
        if wrong.item():
            raise StageFailure(
                "LossNotFinite", f"the weights are not finite after step {self.position.step}"
            )

    def _tensors(self) -> dict[str, Tensor]:
        """All state that is tensors, by name, without weights that are not learned."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            found[f"model.{name}"] = parameter.data
            for kind, tensor in self.optimizer.state[parameter].items():
                found[f"{kind}.{name}"] = tensor
        return found


def rows_of_a_part(payload: TrainPayload, world: int) -> int:
    """Rows that a rank computes at a time."""
    share = math.ceil((payload.batch_size or 32) / world)
    return math.ceil(share / (payload.gradient_accumulation or 1))


class TokenNarrator(Narrator):
    """Also tells how many tokens are learned from in a second, and the norm of the gradient."""

    def __init__(self, trainer: ShardedTrainer) -> None:
        super().__init__(trainer)
        self._of = trainer
        # Tokens when it began to count.
        self._first_seen = 0.0

    def _begins(self) -> int:
        # The first step takes longer: it does not count.
        self._started, self._first_seen = time.monotonic(), self._of.seen
        return self._of.position.step

    @property
    def tokens_per_second(self) -> float:
        """Since the first step of this process."""
        counted = 0.0 if self._first_step is None else self._of.seen - self._first_seen
        return counted / max(1e-9, time.monotonic() - self._started)

    def _words(self) -> str:
        return f" {self.tokens_per_second:.0f} tokens/s"

    def _metrics(self) -> dict[str, float]:
        found = {"tokens_per_second": self.tokens_per_second}
        if self._of.norm is not None:
            found["gradient_norm"] = float(self._of.norm)
        return found
