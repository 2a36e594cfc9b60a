"""``predictions.parquet`` is believed only when it is about the test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from .build import World

LABELS = ["a", "b", "c", "a"]


def columns(**changes: Any) -> dict[str, Any]:
    """A good file for LABELS, with changes; None leaves a column out."""
    given = {"y_true": ["a", "a", "c", "b"], "y_pred": ["a", "b", "c", "b"], **changes}
    return {name: value for name, value in given.items() if value is not None}


def scores(**changes: Any) -> dict[str, Any]:
    given = {f"y_score_{name}": [0.25, 0.25, 0.25, 0.25] for name in "abc"}
    return columns(**{**given, **changes})


INVALID = {
    "y_true is missing": (columns(y_true=None), "has no column y_true"),
    "y_pred is missing": (columns(y_pred=None), "has no column y_pred"),
    "fewer rows": (
        {"y_true": ["a"], "y_pred": ["a"]},
        "has 1 rows, the test split has 4",
    ),
    "nulls": (columns(y_pred=["a", None, "c", None]), "y_pred has 2 nulls"),
    "an unknown class": (
        columns(y_pred=["a", "b", "c", "spam"]),
        "y_pred has 'spam', which is none of the classes 'a', 'b', 'c'",
    ),
    "class ids instead of classes": (columns(y_pred=[0, 1, 2, 1]), "y_pred has 0, which is none"),
    "a truth of other rows": (
        columns(y_true=["a", "b", "c", "b"]),
        "y_true has class a 1 times, the split's label 2 times",
    ),
    "scores of some classes": (scores(y_score_c=None), "has no column y_score_c"),
    "scores of an unknown class": (scores(y_score_d=[1.0] * 4), "y_score_d names none of"),
    "scores that are NaN": (
        scores(y_score_b=[0.1, float("nan"), 0.2, 0.3]),
        "y_score_b has values that are not finite",
    ),
    "scores that are null": (scores(y_score_b=[0.1, None, 0.2, 0.3]), "y_score_b has 1 nulls"),
    "scores that are text": (scores(y_score_b=["x"] * 4), "y_score_b is string, not a number"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_predictions(world: World, case: str) -> None:
    given, message = INVALID[case]
    world.write(LABELS)
    world.predictions(**given)
    failure = world.failure("accuracy")
    assert failure.reason == "PredictionsInvalid"
    assert failure.message.startswith(str(world.model / "predictions.parquet"))
    assert message in failure.message


def test_a_file_that_is_not_parquet(world: World) -> None:
    world.write(LABELS)
    (world.model / "predictions.parquet").write_text("y_true,y_pred\n")
    failure = world.failure("accuracy")
    assert failure.reason == "PredictionsInvalid"
    assert "predictions.parquet cannot be read" in failure.message


TRUTH = np.random.default_rng(3).normal(150, 70, 500)
VALUES = {
    "NaN": ({"y_pred": np.full(500, np.nan)}, "y_pred has values that are not finite"),
    "text": ({"y_pred": ["1.5"] * 500}, "y_pred is string, not a number"),
    "in other units": ({"y_true": (TRUTH - 150) / 70}, "is not about the test split"),
    "of other rows": ({"y_true": np.append(TRUTH[:-1], 151.0)}, "is not about the test split"),
}


@pytest.mark.parametrize("case", VALUES)
def test_invalid_predictions_of_values(world: World, case: str) -> None:
    given, message = VALUES[case]
    world.task = "regression"
    world.write(TRUTH)
    world.predictions(**{"y_true": TRUTH, "y_pred": TRUTH, **given})
    failure = world.failure("mae")
    assert failure.reason == "PredictionsInvalid"
    assert message in failure.message


ROUNDINGS = {
    "as they are": TRUTH,
    "shuffled": np.random.default_rng(0).permutation(TRUTH),
    "in float32": TRUTH.astype(np.float32),
    "scaled in float32 and back": ((TRUTH - 150) / 70).astype(np.float32) * 70 + 150,
}


@pytest.mark.parametrize("case", ROUNDINGS)
def test_truths_may_be_given(world: World, case: str) -> None:
    world.task = "regression"
    world.write(TRUTH)
    world.predictions(y_true=ROUNDINGS[case], y_pred=TRUTH)
    assert world.run("rmse").samples == 500


TYPES = {
    "text": (["a", "b"], pa.array(["a", "b", "a", "a"])),
    "pandas' categories": (["a", "b"], pa.array(["a", "b", "a", "a"]).dictionary_encode()),
    "large text": (["a", "b"], pa.array(["a", "b", "a", "a"], pa.large_string())),
    "integers": ([3, 5], pa.array([3, 5, 3, 3])),
    "integers as floats": ([3, 5], pa.array([3.0, 5.0, 3.0, 3.0])),
    "small integers": ([3, 5], pa.array([3, 5, 3, 3], pa.int8())),
    "booleans": ([False, True], pa.array([False, True, False, False])),
    "booleans as integers": ([False, True], pa.array([0, 1, 0, 0])),
    "integers as booleans": ([0, 1], pa.array([False, True, False, False])),
}


@pytest.mark.parametrize("case", TYPES)
def test_labels_may_change_their_type_on_the_way(world: World, case: str) -> None:
    (first, second), given = TYPES[case]
    world.write([first, first, first, second])
    world.predictions(y_true=given, y_pred=given)
    assert world.run("accuracy").metrics[0].value == 1


@pytest.mark.parametrize("name", ["y_score_True", "y_score_true", "y_score_False"])
def test_the_score_of_one_of_two_classes_is_enough(world: World, name: str) -> None:
    truth = [False, True, False, True]
    world.write(truth)
    scores = np.array([0.1, 0.4, 0.2, 0.3])
    given = 1 - scores if name == "y_score_False" else scores
    world.predictions(y_true=truth, y_pred=truth, **{name: given})
    found = world.values("roc_auc", "log_loss")
    assert found["roc_auc"] == 1
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.3]).mean())
