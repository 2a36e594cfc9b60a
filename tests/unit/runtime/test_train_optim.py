"""Optimizers are torch's, and so are their settings."""

from __future__ import annotations

import pytest
import torch

from trainingjob.api.v1alpha1.train import (
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    Schedule,
    Sgd,
    StepSchedule,
)
from trainingjob.api.v1alpha1.train import Optimizer as Spec
from trainingjob.runtime.train.budget import rate_factor
from trainingjob.runtime.train.optim import Optimizer

RULES = {
    "adam by default": (None, lambda p: torch.optim.Adam(p)),
    "adam": (
        Spec(adam=Adam(learning_rate=0.1, beta1=0.7, beta2=0.8, weight_decay=0.3)),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.7, 0.8), weight_decay=0.3),
    ),
    "adamw": (
        Spec(adamw=AdamW(learning_rate=0.1)),
        lambda p: torch.optim.AdamW(p, lr=0.1),
    ),
    "sgd": (Spec(sgd=Sgd()), lambda p: torch.optim.SGD(p, lr=0.01)),
    "sgd with momentum": (
        Spec(sgd=Sgd(momentum=0.9, weight_decay=0.1)),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    ),
    "sgd after nesterov": (
        Spec(sgd=Sgd(momentum=0.9, nesterov=True)),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    ),
}


@pytest.mark.parametrize(("spec", "reference"), RULES.values(), ids=RULES)
def test_steps_are_those_of_torch_s_classes(spec, reference):
    """Of which they are the functions; another one goes on after twenty steps."""
    torch.manual_seed(0)
    start = [torch.randn(50), torch.randn(3, 4)]
    theirs = [torch.nn.Parameter(one.clone()) for one in start]
    optimizer = reference(theirs)
    ours = [one.clone() for one in start]
    mine = Optimizer(spec, ours)
    for number in range(1, 30):
        if number == 20:
            state, mine = mine.state, Optimizer(spec, ours)
            mine.state = state
            mine.resume(number - 1)
        values = [torch.randn_like(one) for one in start]
        for one, value in zip(theirs, values, strict=True):
            one.grad = value.clone()
        mine.step(ours, values, mine.rate)
        optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other.data, rtol=1e-6, atol=1e-7)


def cosine(**fields) -> Schedule:
    return Schedule(cosine=CosineSchedule(**fields))


def halving() -> Schedule:
    return Schedule(step=StepSchedule(every_epochs=2, factor=0.5))


# schedule, step of 100, epoch -> share of the configured rate
FACTORS = [
    ("constant without a schedule", None, 70, 7, 1.0),
    ("a cosine begins at the full rate", cosine(), 0, 0, 1.0),
    ("a cosine is at half in the middle", cosine(), 50, 5, 0.5),
    ("a cosine ends at its least share", cosine(min_factor=0.1), 100, 10, 0.1),
    ("warm-up rises from above zero", cosine(warmup_steps=10), 0, 0, 0.1),
    ("warm-up ends at the full rate", cosine(warmup_steps=10), 9, 0, 1.0),
    ("the cosine follows the warm-up", cosine(warmup_steps=20), 60, 6, 0.5),
    ("warm-up may be longer than training", cosine(warmup_steps=200), 99, 9, 0.5),
    ("a line warms up, too", Schedule(linear=LinearSchedule(warmup_steps=10)), 4, 0, 0.5),
    ("a line ends at nothing", Schedule(linear=LinearSchedule()), 100, 9, 0.0),
    ("warm-up alone", Schedule(constant=ConstantSchedule(warmup_steps=10)), 4, 0, 0.5),
    ("and then it stays", Schedule(constant=ConstantSchedule(warmup_steps=10)), 99, 9, 1.0),
    ("steps begin at the full rate", halving(), 19, 1, 1.0),
    ("steps go down every so many epochs", halving(), 20, 2, 0.5),
    ("steps go down again", halving(), 50, 5, 0.25),
]


@pytest.mark.parametrize(
    ("schedule", "step", "epoch", "factor"), [f[1:] for f in FACTORS], ids=[f[0] for f in FACTORS]
)
def test_the_rate_follows_its_schedule(schedule, step, epoch, factor):
    assert rate_factor(schedule, step, 100, epoch) == pytest.approx(factor)


@pytest.mark.parametrize("warmup", [0, 20])
def test_a_line_falls_as_torch_has_it(warmup):
    schedule = Schedule(linear=LinearSchedule(warmup_steps=warmup, min_factor=0.1))
    sgd = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.LinearLR(
        sgd, start_factor=1.0, end_factor=0.1, total_iters=100 - warmup
    )
    for step in range(warmup, 100):
        assert rate_factor(schedule, step, 100, 0) == pytest.approx(sgd.param_groups[0]["lr"])
        sgd.step()
        theirs.step()
