"""Verdicts of gates, and the words for those that did not pass."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.api import gates
from trainingjob.api.v1alpha1 import METRICS, Gate
from trainingjob.api.v1alpha1.evaluate import LOWER_IS_BETTER


def gate(metric: str = "accuracy", **bounds: Any) -> Gate:
    return Gate.model_validate({"metric": metric, **bounds})


def past(metric: str = "accuracy", tolerance: float | None = None, **bounds: Any) -> Gate:
    return gate(metric, noWorseThan="lastAccepted", tolerance=tolerance, **bounds)


# value, its gates, the last accepted value, whether it passes
ACCURACY = {
    "above the lower bound": (0.95, [gate(min=0.9)], None, True),
    "at the lower bound": (0.9, [gate(min=0.9)], None, True),
    "below the lower bound": (0.89, [gate(min=0.9)], None, False),
    "above the upper bound": (0.95, [gate(max=0.9)], None, False),
    "one of two gates fails": (0.85, [gate(min=0.8), gate(min=0.9)], None, False),
    "nothing accepted yet": (0.1, [past()], None, True),
    "nothing accepted yet, and a bound": (0.1, [past(min=0.5)], None, False),
    "better than the last": (0.94, [past()], 0.93, True),
    "as good as the last": (0.93, [past()], 0.93, True),
    "worse than the last": (0.929, [past()], 0.93, False),
    "worse within the tolerance": (0.925, [past(tolerance=0.01)], 0.93, True),
    "worse by the tolerance, which binary would miss": (0.7, [past(tolerance=0.1)], 0.8, True),
    "worse by more than the tolerance": (0.9199, [past(tolerance=0.01)], 0.93, False),
    "the strictest of two tolerances": (0.9, [past(tolerance=0.1), past()], 0.93, False),
    "a gate that does not compare": (0.5, [gate(min=0.5)], 0.93, True),
    "good enough, and worse than the last": (0.92, [past(min=0.9)], 0.93, False),
    "no worse than the last, and not good enough": (0.8, [past(min=0.9)], 0.7, False),
}


@pytest.mark.parametrize("case", ACCURACY)
def test_more_accuracy_is_better(case: str) -> None:
    value, limits, last, passed = ACCURACY[case]
    baseline = {} if last is None else {"accuracy": last, "f1_macro": 1.0}
    (judged,) = gates.judge({"accuracy": value}, limits, baseline)
    assert judged.passed is passed
    assert gates.accepts([judged]) is passed


LOG_LOSS = {
    "better than the last": (0.29, [past("log_loss")], True),
    "as good as the last": (0.3, [past("log_loss")], True),
    "worse than the last": (0.31, [past("log_loss")], False),
    "worse by the tolerance, which binary would miss": (
        *(0.4, [past("log_loss", tolerance=0.1)]),
        True,
    ),
    "worse by more than the tolerance": (0.41, [past("log_loss", tolerance=0.1)], False),
}


@pytest.mark.parametrize("case", LOG_LOSS)
def test_less_log_loss_is_better(case: str) -> None:
    value, limits, passed = LOG_LOSS[case]
    (judged,) = gates.judge({"log_loss": value}, limits, {"log_loss": 0.3})
    assert judged.passed is passed
    assert judged.min is None


def test_errors_are_better_when_they_are_lower_and_nothing_else_is() -> None:
    assert set(METRICS) >= LOWER_IS_BETTER
    errors = ("mae", "rmse", "mape", "perplexity", "bits_per_byte")
    told = {name for name in METRICS if "loss" in name or name in errors}
    assert told == LOWER_IS_BETTER


def test_what_was_applied_is_told() -> None:
    limits = [past(min=0.9, tolerance=0.01), past("log_loss", max=1, tolerance=0.05), past("r2")]
    values = {"accuracy": 0.95, "log_loss": 0.2, "r2": 0.5, "mae": 7.0}
    judged = gates.judge(values, limits, {"accuracy": 0.93, "log_loss": 0.3, "mae": 1.0})
    assert [metric.to_dict() for metric in judged] == [
        {"name": "accuracy", "value": 0.95, "min": 0.92, "baseline": 0.93, "passed": True},
        {"name": "log_loss", "value": 0.2, "max": 0.35, "baseline": 0.3, "passed": True},
        {"name": "r2", "value": 0.5, "passed": True},
        {"name": "mae", "value": 7.0},
    ]
    assert gates.compared(limits) == ["accuracy", "log_loss", "r2"]
    assert gates.uncompared(judged, limits) == ["r2"]


def test_without_gates_everything_is_accepted() -> None:
    assert gates.accepts(gates.judge({"accuracy": 0.1}, [], {"accuracy": 0.9}))


LAST = "of the last accepted model"
# value, its gates, the last accepted value, the words
WORDS = {
    "too low": (0.87, [gate(min=0.8), gate(min=0.9)], None, "0.87 is below 0.9"),
    "too high": (0.95, [gate(max=0.5)], None, "0.95 is above 0.5"),
    "worse": (0.87, [past()], 0.93, f"0.87 is worse than 0.93 {LAST}"),
    "worse by more": (
        *(0.87, [past(tolerance=0.01)], 0.93),
        f"0.87 is worse than 0.93 {LAST} by more than 0.01",
    ),
    "worse by little": (0.929998, [past()], 0.93, f"0.929998 is worse than 0.93 {LAST}"),
    "worse by little more": (
        *(0.919998, [past(tolerance=0.01)], 0.93),
        f"0.919998 is worse than 0.93 {LAST} by more than 0.01",
    ),
    "worse and too low": (
        *(0.87, [past(min=0.9)], 0.93),
        f"0.87 is below 0.9 and worse than 0.93 {LAST}",
    ),
    "too low and no worse": (0.87, [past(min=0.9)], 0.8, "0.87 is below 0.9"),
}


@pytest.mark.parametrize("case", WORDS)
def test_why_a_metric_did_not_pass(case: str) -> None:
    value, limits, last, words = WORDS[case]
    limits = [*limits, past("f1_macro", min=0.99)]
    baseline = {} if last is None else {"accuracy": last}
    judged, _ = gates.judge({"accuracy": value, "f1_macro": 1.0}, limits, baseline)
    assert judged.passed is False
    assert gates.in_words(judged, limits) == f"accuracy {words}"
    told = gates.in_words(judged, limits, other_data=True)
    assert told == f"accuracy {words.replace(LAST, LAST + ' on other test data')}"


def test_a_mean_over_folds_is_told_with_its_deviation() -> None:
    (judged,) = gates.judge({"accuracy": 0.87}, [gate(min=0.9)], {})
    judged = judged.model_copy(update={"deviation": 0.01234, "test": 0.95})
    assert gates.in_words(judged, [gate(min=0.9)]) == (
        "accuracy 0.87 ± 0.012 over the folds is below 0.9"
    )


def test_errors_are_told_as_worse_when_they_are_higher() -> None:
    limits = [past("rmse", tolerance=2)]
    (judged,) = gates.judge({"rmse": 58.25}, limits, {"rmse": 55.5})
    assert (judged.max, judged.min) == (57.5, None)
    assert gates.in_words(judged, limits) == f"rmse 58.25 is worse than 55.5 {LAST} by more than 2"
