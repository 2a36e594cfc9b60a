"""The trials of a search, one after the other: the settings of the next, and what came of each.

What came of a trial lies in a file below the checkpoints. The settings of the next one follow from
these files and the seed alone, so that a search that was stopped goes on as if it had not been. Of
the models only the best so far is kept.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from trainingjob.api.payload import StageResult, TrainPayload
from trainingjob.api.v1alpha1.reported import Outputs, Searched
from trainingjob.api.v1alpha1.search import Parameter, Setting, applied, ends, whole_numbers
from trainingjob.api.v1alpha1.train import Train

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..dataset.manifest import DatasetManifest
from ..storage import copy, remove, resolve, write_aside
from ..storage.ownership import claim
from . import word

# Beside the model that is kept: all trials.
SEARCH = "search.json"
# optuna's MedianPruner has the same number, and the same rule.
_BEFORE_PRUNING = 5

State = Literal["complete", "pruned", "failed"]


class Outcome(word.Word):
    """``trials/trial-7.json``: what came of a trial. ``losses``: of the validation split, after
    each epoch. ``outputs``: of a model that is kept, or was while it was the best."""

    dataset: str
    settings: dict[str, Setting]
    state: State
    losses: list[float]
    loss: float | None = None
    outputs: Outputs | None = None
    message: str | None = None


@dataclass(frozen=True)
class Trial:
    """``payload``: that of a training with its settings, in folders of its own. ``best``: the
    lowest loss of the trials before it; ``medians``: of their losses after each epoch."""

    number: int
    trials: int
    settings: dict[str, Setting]
    payload: TrainPayload
    best: float | None
    medians: Sequence[float]

    @staticmethod
    def of(payload: TrainPayload, told: dict[str, Any]) -> Trial:
        """Of what rank 0 has told. Raises ValueError for settings that do not go together."""
        assert payload.search is not None
        number, settings = told["number"], told["settings"]
        folders = {
            "checkpoints": checkpoints_of(payload, number),
            "modelUri": _model_of(payload, number),
        }
        given = applied(payload.to_dict(), settings) | folders
        del given["search"]
        own = TrainPayload.model_validate(given, by_name=False)
        trials = payload.search.trials
        return Trial(number, trials, settings, own, told["best"], told["medians"])

    @property
    def words(self) -> str:
        """What begins the lines of the log about it."""
        return f"trial {self.number}/{self.trials} "

    def is_best(self, loss: float) -> bool:
        """Whether its model is to be kept."""
        return self.best is None or loss < self.best

    def is_hopeless(self, losses: Sequence[float]) -> bool:
        """Whether the lowest of its losses, one an epoch, is above the median of the others'."""
        at = len(losses) - 1
        return at < len(self.medians) and min(losses) > self.medians[at]


@dataclass
class Tried:
    """What a trial came to, as those say who trained."""

    state: State
    losses: list[float] = field(default_factory=list)
    loss: float | None = None
    result: StageResult | None = None  # of the model that was written
    message: str | None = None


@contextmanager
def of_trial(number: int, settings: dict[str, Setting]) -> Iterator[None]:
    """Put the trial before the messages of the block's failures."""
    try:
        yield
    except StageFailure as failure:
        failure.message = f"trial {number} ({listed(settings)}): {failure.message}"
        failure.args = (failure.message,)
        raise


class Search:
    """As rank 0 has it. Methods raise StageFailure of the storage."""

    def __init__(self, payload: TrainPayload) -> None:
        assert payload.search is not None
        self._payload, self._spec = payload, payload.search
        self._dataset = DatasetManifest.read(resolve(payload.dataset)).digest
        with storage_errors("read the checkpoints"):
            claim(resolve(payload.checkpoints), payload.job.uid)
        found = ((number, self._read(number)) for number in range(1, self._spec.trials + 1))
        self._done = {number: outcome for number, outcome in found if outcome is not None}
        while (best := self._best()) is not None and not self._is_whole(best):
            log(f"the model of trial {best} is not as it was written: it is trained again")
            del self._done[best]

    def ask(self, number: int) -> dict[str, Any] | None:
        """What all ranks are told of a trial; None when it was made before."""
        if number in self._done:
            log(f"trial {number}/{self._spec.trials} was made before")
            return None
        settings = suggest(
            self._spec.parameters,
            [self._done[n] for n in sorted(self._done) if n < number],
            int(np.random.SeedSequence([self._payload.seed, number]).generate_state(1)[0]),
            chance=self._spec.algorithm == "random",
        )
        log(f"trial {number}/{self._spec.trials} {listed(settings)}")
        best = self._best()
        return {
            "number": number,
            "settings": settings,
            "best": None if best is None else self._done[best].loss,
            "medians": [] if self._spec.prune is False else self._medians(number),
        }

    def tell(self, number: int, settings: dict[str, Setting], tried: Tried) -> None:
        """Keep what came of a trial; remove its checkpoints, and the model that it has beaten."""
        before = self._best()
        outcome = Outcome(
            uid=self._payload.job.uid,
            attempt=self._payload.attempt,
            dataset=self._dataset,
            settings=settings,
            state=tried.state,
            losses=tried.losses,
            loss=tried.loss,
            outputs=tried.result.outputs if tried.result else None,
            message=tried.message,
        )
        word.tell(self._record(number), outcome)
        self._done[number] = outcome
        best = self._best()
        _log(number, self._spec.trials, outcome, is_best=best == number)
        useless = [checkpoints_of(self._payload, number)]
        if before is not None and best != before:
            useless.append(self._model(before))
        with storage_errors("remove what a trial has left"):
            for uri in useless:
                if resolve(uri).exists():
                    remove(resolve(uri))

    def result(self) -> StageResult:
        """Of the best model, which is copied to where the model of the job belongs.

        Raises StageFailure(LossNotFinite) when no trial has come to its end."""
        best = self._best()
        if best is None:
            first = next(iter(self._done.values()))
            raise StageFailure(
                "LossNotFinite",
                f"none of {len(self._done)} trials came to its end; of the first, "
                f"{listed(first.settings)}: {first.message}",
            )
        target, outcome = resolve(self._payload.model_uri), self._done[best]
        with storage_errors("write the model"):
            with write_aside(target) as folder:
                copy(resolve(self._model(best)), folder)
                if digest_of_folder(folder) != _digest(outcome):
                    words = f"the model of trial {best} was changed since it was written"
                    raise StageFailure("StorageFailed", words)
                (folder / SEARCH).write_text(json.dumps(self._table(best), indent=1) + "\n")
            digest = digest_of_folder(target)
        log(f"the best of {len(self._done)} trials is trial {best}: {listed(outcome.settings)}")
        states = [one.state for one in self._done.values()]
        found = {
            "uri": self._payload.model_uri,
            "digest": digest,
            "search": Searched(
                trials=len(states),
                pruned=states.count("pruned"),
                failed=states.count("failed"),
                best=best,
                settings={name: json.dumps(one) for name, one in outcome.settings.items()},
            ).to_dict(),
        }
        outputs = outcome.outputs.to_dict() if outcome.outputs is not None else {}
        return StageResult(outputs=Outputs.model_validate(outputs | found))

    def _table(self, best: int) -> dict[str, Any]:
        kept = {"settings", "state", "losses", "loss", "message"}
        trials = [
            {"trial": number} | one.model_dump(include=kept, exclude_none=True)
            for number, one in sorted(self._done.items())
        ]
        return {"best": best, "trials": trials}

    def _best(self) -> int | None:
        complete = {n: one.loss for n, one in self._done.items() if one.loss is not None}
        return min(complete, key=lambda n: (complete[n], n), default=None)

    def _medians(self, number: int) -> list[float]:
        """Of the losses after each epoch that five or more trials before this one have come to."""
        before = [one for n, one in sorted(self._done.items()) if n < number]
        runs = [one.losses for one in before if one.state != "failed"]
        found: list[float] = []
        while True:
            reached = [run[len(found)] for run in runs if len(run) > len(found)]
            if len(reached) < _BEFORE_PRUNING:
                return found
            found.append(statistics.median(reached))

    def _record(self, number: int) -> str:
        return f"{self._model(number)}.json"

    def _model(self, number: int) -> str:
        return _model_of(self._payload, number)

    def _read(self, number: int) -> Outcome | None:
        outcome = word.read(self._record(number), Outcome)
        known = (self._payload.job.uid, self._dataset)
        if outcome is None or (outcome.uid, outcome.dataset) != known:
            return None
        try:
            _as_trial(outcome, _space(self._spec.parameters))
        except (ValueError, LookupError) as error:
            log(f"the record of trial {number} is not as it was written: {error}")
            return None
        return outcome

    def _is_whole(self, number: int) -> bool:
        """Whether the model of a trial is as it was written."""
        folder = resolve(self._model(number))
        with storage_errors("read the model of a trial"):
            there = folder.is_dir() and digest_of_folder(folder)
        return there == _digest(self._done[number])


def _digest(outcome: Outcome) -> str | None:
    """Of the model that is kept."""
    return outcome.outputs.digest if outcome.outputs is not None else None


def checkpoints_of(payload: TrainPayload, number: int) -> str:
    """Where those of a trial are."""
    return f"{payload.checkpoints}/trial-{number}"


def _model_of(payload: TrainPayload, number: int) -> str:
    return f"{payload.checkpoints}/trials/trial-{number}"


def suggest(
    parameters: Sequence[Parameter], before: Sequence[Outcome], seed: int, *, chance: bool
) -> dict[str, Setting]:
    """Settings that may be good, after what came of others; by chance when ``chance``.

    Of the same arguments the same: optuna keeps nothing from one call to the next.
    """
    optuna = _optuna()
    samplers = optuna.samplers
    sampler = samplers.RandomSampler(seed) if chance else samplers.TPESampler(seed=seed)
    study = optuna.create_study(sampler=sampler)
    space = _space(parameters)
    for outcome in before:
        study.add_trial(_as_trial(outcome, space))
    found: dict[str, Setting] = study.ask(space).params
    return found


def _optuna() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its experimental features
        import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _as_trial(outcome: Outcome, space: Mapping[str, Any]) -> Any:
    """As optuna has it. Raises ValueError, LookupError for one of other settings or values, or
    that does not say how it ended."""
    trials = _optuna().trial
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    return trials.create_trial(
        state=trials.TrialState[states[outcome.state]],
        params={name: outcome.settings[name] for name in space},
        distributions=dict(space),
        value=outcome.loss,
        intermediate_values=dict(enumerate(outcome.losses)),
    )


def _space(parameters: Sequence[Parameter]) -> dict[str, Any]:
    return {one.field: _distribution(one) for one in parameters}


def _distribution(one: Parameter) -> Any:
    from optuna import distributions

    if one.values is not None:
        return distributions.CategoricalDistribution(one.values)
    low, high = (float(end) for end in ends(Train, one))
    log = bool(one.log)
    if whole_numbers(Train, one.field):
        return distributions.IntDistribution(int(low), int(high), log=log)
    return distributions.FloatDistribution(low, high, log=log)


def listed(settings: dict[str, Setting]) -> str:
    """For people."""
    shown = {
        name: f"{one:.4g}" if isinstance(one, float) else str(one) for name, one in settings.items()
    }
    return ", ".join(f"{name}={one}" for name, one in shown.items())


def _log(number: int, trials: int, outcome: Outcome, *, is_best: bool) -> None:
    match outcome.state:
        case "complete":
            words = f"validation loss {outcome.loss:.6g}" + (", the lowest so far" * is_best)
        case "pruned":
            words = f"is ended after epoch {len(outcome.losses)}: its validation loss "
            words += f"{min(outcome.losses):.6g} is above the median"
        case "failed":
            words = f"has failed: {outcome.message}"
    log(f"trial {number}/{trials} {words}")
