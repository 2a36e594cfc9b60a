"""How a search chooses, and when it gives up: optuna's own judgement is the measure."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest

from trainingjob.api.v1alpha1.search import Parameter
from trainingjob.runtime.train.search import Outcome, Search, Trial, suggest

RATE = "optimizer.adam.learningRate"
PARAMETERS = [
    Parameter(field=RATE, min=1e-5, max=1.0, log=True),
    Parameter(field="model.mlp.hidden[0]", min=8, max=64),
    Parameter(field="model.mlp.activation", values=["relu", "tanh"]),
]


def outcome(settings: dict[str, Any], losses: list[float], state: str = "complete") -> Outcome:
    loss = losses[-1] if state == "complete" else None
    return Outcome.model_validate(
        {"uid": "1", "attempt": 1, "dataset": "d", "settings": settings, "state": state}
        | {"losses": losses, "loss": loss}
    )


def loss_of(settings: dict[str, Any]) -> float:
    """Least at a rate of 0.01, of 40 units, with tanh."""
    far = abs(settings[RATE] - 0.01) * 10 + abs(settings["model.mlp.hidden[0]"] - 40) / 40
    return far + (settings["model.mlp.activation"] != "tanh")


@pytest.mark.parametrize("chance", [True, False])
def test_settings_are_within_their_limits_and_follow_from_what_came_before(chance: bool) -> None:
    before: list[Outcome] = []
    for seed in range(12):
        found = suggest(PARAMETERS, before, seed, chance=chance)
        assert suggest(PARAMETERS, before, seed, chance=chance) == found
        assert 1e-5 <= found[RATE] <= 1
        assert found["model.mlp.hidden[0]"] in range(8, 65)
        assert found["model.mlp.activation"] in ("relu", "tanh")
        before.append(outcome(found, [loss_of(found)], ("complete", "pruned", "failed")[seed % 3]))


def test_what_was_good_before_is_looked_for_where_chance_does_not() -> None:
    def best(*, chance: bool, seed: int) -> float:
        before: list[Outcome] = []
        for number in range(40):
            found = suggest(PARAMETERS, before, seed * 1000 + number, chance=chance)
            before.append(outcome(found, [loss_of(found)]))
        return min(one.loss for one in before if one.loss is not None)

    better = [best(chance=False, seed=n) < best(chance=True, seed=n) for n in range(8)]
    assert sum(better) >= 6


def test_a_trial_is_hopeless_when_optunas_median_pruner_says_so() -> None:
    rng = random.Random(5)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
    study = optuna.create_study(pruner=pruner)
    search = Search.__new__(Search)
    search._done = {}
    pruned = 0
    for number in range(1, 60):
        told = {"number": number, "settings": {}, "best": None, "medians": search._medians(number)}
        trial, theirs, losses = trial_of(told), study.ask(), []
        level = rng.random()
        for epoch in range(rng.randint(3, 8)):
            losses.append(level + rng.random() / (epoch + 1))
            theirs.report(losses[-1], epoch)
            hopeless = trial.is_hopeless(losses)
            # Theirs has five that are complete before it begins, ours five that have come so far.
            if number > 30:
                assert hopeless == theirs.should_prune(), (number, epoch)
            if hopeless and number > 30:
                break
        pruned += hopeless and number > 30
        state = "pruned" if hopeless and number > 30 else "complete"
        search._done[number] = outcome({}, losses, state)
        if state == "pruned":
            study.tell(theirs, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(theirs, losses[-1])
    assert 3 < pruned < 25


def trial_of(told: dict[str, Any]) -> Trial:
    payload: Any = None  # it is not asked
    return Trial(told["number"], 60, {}, payload, told["best"], told["medians"])
