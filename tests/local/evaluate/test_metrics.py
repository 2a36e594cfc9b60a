"""Every metric equals scikit-learn's on the plain arrays."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from trainingjob.api.v1alpha1.evaluate import (
    BINARY_METRICS,
    CLASSIFICATION_METRICS,
    REGRESSION_METRICS,
)

from .build import World

ROWS = 20_000  # more than one batch


def classified(
    labels: list[Any], truth: np.ndarray, predicted: np.ndarray, scores: np.ndarray, positive=1
) -> dict[str, float]:
    """What scikit-learn says; ``positive``: of two classes, which one."""
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "log_loss": sk.log_loss(truth, scores, labels=range(len(labels))),
    }
    for name, function in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        for average in ("micro", "macro", "weighted"):
            expected[f"{name}_{average}"] = function(
                truth, predicted, average=average, zero_division=0
            )
    if len(labels) > 2:
        areas = sk.roc_auc_score(
            truth, scores, multi_class="ovr", average=None, labels=range(len(labels))
        )
        # It has none for a class that is not there.
        expected["roc_auc"] = np.nanmean(areas)
        return expected
    if len(set(truth)) == 2:
        expected["roc_auc"] = sk.roc_auc_score(truth == positive, scores[:, positive])
    of = {"pos_label": positive, "zero_division": 0}
    expected["precision"] = sk.precision_score(truth, predicted, **of)
    if positive in truth:
        expected["recall"] = sk.recall_score(truth, predicted, **of)
        expected["f1"] = sk.f1_score(truth, predicted, **of)
        expected["average_precision"] = sk.average_precision_score(
            truth, scores[:, positive], pos_label=positive
        )
    return expected


def drawn(classes: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Truth that is not even, and scores that know something of it, with many ties."""
    rng = np.random.default_rng(classes)
    truth = rng.choice(classes, rows, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits = rng.normal(size=(rows, classes)).round(1)
    logits[np.arange(rows), truth] += 1
    powers = np.exp(logits)
    return truth, powers / powers.sum(axis=1, keepdims=True)


LABELS = {
    "two classes": [0, 1],
    "two classes as booleans": [False, True],
    "two classes as text": ["benign", "malignant"],
    "three classes": [1, 2, 7],
    "ten classes as text": [f"class {i}" for i in range(10)],
    "classes as fractions": [0.5, 1.0, 1.5],
}
DISTORTIONS = {
    "as the scores say": lambda truth, predicted: (truth, predicted),
    "a class never predicted": lambda truth, predicted: (
        truth,
        np.where(predicted == predicted.max(), 0, predicted),
    ),
    "always the same prediction": lambda truth, predicted: (truth, np.zeros_like(predicted)),
    "a class missing in the truth": lambda truth, predicted: (
        np.where(truth == truth.max(), 0, truth),
        predicted,
    ),
    "a class missing in both": lambda truth, predicted: (
        np.where(truth == truth.max(), 0, truth),
        np.where(predicted == predicted.max(), 0, predicted),
    ),
    "all wrong": lambda truth, predicted: (truth, (truth + 1) % (truth.max() + 1)),
}


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.filterwarnings("ignore")
def test_classification_is_judged_as_scikit_learn_does(
    world: World, labels: str, distortion: str
) -> None:
    values = LABELS[labels]
    truth, scores = drawn(len(values))
    truth, predicted = DISTORTIONS[distortion](truth, scores.argmax(axis=1))
    shown = np.array(values)
    every = world.write(shown[truth].tolist()).model_copy(update={"classes": values})
    every.write(world.dataset)
    columns = {f"y_score_{value}": scores[:, i] for i, value in enumerate(values)}
    world.predictions(y_true=shown[truth], y_pred=shown[predicted], **columns)

    found = world.values("accuracy")

    expected = classified(values, truth, predicted, scores)
    assert found == pytest.approx(expected, abs=1e-12)
    report = world.report()
    assert set(found) | set(report["undefined"]) == set(CLASSIFICATION_METRICS)
    size = range(len(values))
    assert report["confusionMatrix"] == sk.confusion_matrix(truth, predicted, labels=size).tolist()
    table = sk.precision_recall_fscore_support(
        truth, predicted, labels=size, average=None, zero_division=np.nan
    )
    for index, row in enumerate(report["perClass"]):
        assert row["label"] == values[index]
        assert row["support"] == table[3][index]
        for name, column in zip(("precision", "recall", "f1"), table, strict=False):
            assert row.get(name, np.nan) == pytest.approx(column[index], nan_ok=True)


POSITIVES = {
    "the greater class": ([0, 1], None, 1),
    "the smaller class": ([0, 1], 0, 0),
    "text, the greater": (["no", "yes"], None, 1),
    "text, the smaller": (["no", "yes"], "no", 0),
    "a boolean": ([False, True], False, 0),
    "a boolean as text": ([False, True], "true", 1),
    "a number as text": ([3, 7], "3", 0),
    "a fraction as a whole number": ([0.0, 1.0], 1, 1),
}


@pytest.mark.parametrize("threshold", [None, 0.2, 0.5, 0.9, 0.0, 1.0])
@pytest.mark.parametrize("case", POSITIVES)
@pytest.mark.filterwarnings("ignore")
def test_two_classes_are_judged_by_the_positive_one(
    world: World, case: str, threshold: float | None
) -> None:
    values, world.positive, positive = POSITIVES[case]
    world.threshold = threshold
    truth, scores = drawn(2, 3000)
    predicted = scores.argmax(axis=1)
    shown = np.array(values)
    world.write(shown[truth].tolist())
    columns = {f"y_score_{value}": scores[:, i] for i, value in enumerate(values)}
    world.predictions(y_true=shown[truth], y_pred=shown[predicted], **columns)
    if threshold is not None:
        predicted = np.where(scores[:, positive] >= threshold, positive, 1 - positive)
    found = world.values(*BINARY_METRICS, "accuracy", "roc_auc")
    expected = classified(values, truth, predicted, scores, positive)
    assert found == pytest.approx(expected, abs=1e-12)
    report = world.report()
    assert report["positiveClass"] == values[positive]
    assert report.get("threshold") == threshold


def test_average_precision_of_more_rows_than_are_looked_up_at_once(world: World) -> None:
    truth, scores = drawn(2, 300_000)
    world.write(truth.tolist(), np.zeros((len(truth), 1)))
    world.predictions(y_true=truth, y_pred=truth, y_score_1=scores[:, 1])
    found = world.values("average_precision")["average_precision"]
    assert found == pytest.approx(sk.average_precision_score(truth, scores[:, 1]), abs=1e-12)


# classes, positive class, threshold, metric -> reason, words
NOT_TWO = {
    "recall of three classes": (
        ["a", "b", "c"], None, None, "recall", "MetricUndefined",
        "recall is about the positive one of two classes, and the label label has 3 (a, b, c); "
        "use recall_macro",
    ),
    "average_precision of three": (
        ["a", "b", "c"], None, None, "average_precision", "MetricUndefined", "use roc_auc",
    ),
    "a positive one of three": (
        ["a", "b", "c"], "a", None, "accuracy", "SettingUnsuitable",
        "task.positiveClass is about one of two classes, and the label label has 3 (a, b, c)",
    ),
    "a threshold for three": (
        ["a", "b", "c"], None, 0.5, "accuracy", "SettingUnsuitable",
        "evaluate.threshold is about one of two classes",
    ),
    "no such class": (
        ["no", "yes"], "yep", None, "accuracy", "SettingUnsuitable",
        "task.positiveClass: the label has no class yep; did you mean yes? (classes: no, yes)",
    ),
    "yes without quotes": (
        ["no", "yes"], True, None, "accuracy", "SettingUnsuitable", "put it in quotes",
    ),
    "a threshold without scores": (
        ["no", "yes"], None, 0.5, "accuracy", "PredictionsInvalid", "write y_score_yes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_TWO)
def test_what_needs_two_classes_says_so(world: World, case: str) -> None:
    labels, world.positive, world.threshold, metric, reason, words = NOT_TWO[case]
    world.write(labels * 2)
    world.predictions(y_true=labels * 2, y_pred=labels * 2)
    failure = world.failure(metric)
    assert (failure.reason, words in failure.message) == (reason, True), failure.message


def test_a_test_split_without_the_positive_class_has_no_recall(world: World) -> None:
    labels = ["no", "no", "no"]
    world.write(labels).model_copy(update={"classes": ["no", "yes"]}).write(world.dataset)
    world.predictions(y_true=labels, y_pred=["yes", "no", "no"], y_score_yes=[0.9, 0.2, 0.1])
    assert world.failure("recall").message == (
        "recall is undefined: the test split has no row of the positive class, yes"
    )
    assert world.values("precision")["precision"] == 0


REGRESSIONS = {
    "errors around zero": lambda y, e: (y, y + e),
    "always the mean": lambda y, e: (y, np.full_like(y, y.mean())),
    "always zero": lambda y, e: (y, np.zeros_like(y)),
    "perfect": lambda y, e: (y, y),
    "far from zero": lambda y, e: (y + 1e9, y + 1e9 + e),
    "tiny": lambda y, e: (y * 1e-9, (y + e) * 1e-9),
    "sorted, so that batches differ": lambda y, e: (np.sort(y), np.sort(y) + e),
}


@pytest.mark.parametrize("case", REGRESSIONS)
def test_regression_is_judged_as_scikit_learn_does(world: World, case: str) -> None:
    rng = np.random.default_rng(1)
    truth, predicted = REGRESSIONS[case](rng.normal(3, 5, 1_100_000), rng.normal(0, 2, 1_100_000))
    world.task = "regression"
    world.write(truth, np.zeros((len(truth), 1)))
    world.predictions(y_true=truth, y_pred=predicted)
    found = world.values("rmse", "r2")
    assert found == pytest.approx(
        {
            "mae": sk.mean_absolute_error(truth, predicted),
            "rmse": sk.root_mean_squared_error(truth, predicted),
            "r2": sk.r2_score(truth, predicted),
            "mape": sk.mean_absolute_percentage_error(truth, predicted),
        },
        rel=1e-9,
        abs=1e-15,
    )
    assert set(found) == set(REGRESSION_METRICS)


UNDEFINED = {
    "roc_auc without scores": ("roc_auc", {}, "there are no scores of the classes"),
    "log_loss without scores": ("log_loss", {}, "there are no scores of the classes"),
    "log_loss of scores above 1": (
        "log_loss",
        {"y_score_a": [0.0, 0.0, 0.0, 0.0], "y_score_b": [3.0, 1.0, 2.0, 5.0]},
        "not between 0 and 1",
    ),
    "log_loss of scores that sum to 2": (
        "log_loss",
        {"y_score_a": [1.0, 1.0, 1.0, 1.0], "y_score_b": [1.0, 1.0, 1.0, 1.0]},
        "do not sum to 1",
    ),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_a_metric_that_is_undefined_fails_only_when_asked_for(world: World, case: str) -> None:
    metric, scores, why = UNDEFINED[case]
    labels = ["a", "b", "a", "b"]
    world.write(labels)
    world.predictions(y_true=labels, y_pred=labels, **scores)
    failure = world.failure(metric, "accuracy")
    assert failure.reason == "MetricUndefined"
    assert failure.message.startswith(f"{metric} is undefined: ")
    assert why in failure.message
    assert metric not in world.values("accuracy")
    assert why in world.report()["undefined"][metric]


def test_roc_auc_names_the_class_that_the_test_split_lacks(world: World) -> None:
    labels = ["a", "a", "a"]
    manifest = world.write(labels)
    manifest.model_copy(update={"classes": ["a", "rare"]}).write(world.dataset)
    world.predictions(y_true=labels, y_pred=labels, y_score_rare=[0.1, 0.2, 0.3])
    failure = world.failure("roc_auc")
    assert failure.message == "roc_auc is undefined: the test split has no row of class rare"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_class_that_the_test_split_lacks_is_left_out_of_the_means(world: World) -> None:
    names = ["a", "b", "rare", "c"]
    truth, scores = drawn(4)
    rows = truth != 2
    truth, scores = truth[rows], scores[rows]
    predicted = scores.argmax(axis=1)
    manifest = world.write([names[i] for i in truth])
    manifest.model_copy(update={"classes": names}).write(world.dataset)
    world.predictions(
        y_true=[names[i] for i in truth],
        y_pred=[names[i] for i in predicted],
        **{f"y_score_{name}": scores[:, i] for i, name in enumerate(names)},
    )
    expected = classified(names, truth, predicted, scores)
    assert world.values(*expected) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "truth", "why"),
    [
        ("r2", [2.0, 2.0, 2.0], "the label is the same in all rows of the test split"),
        ("mape", [2.0, 0.0, 0.0], "the label is 0 in 2 rows of the test split"),
    ],
)
def test_metrics_that_would_divide_by_zero_are_undefined(
    world: World, metric: str, truth: list[float], why: str
) -> None:
    world.task = "regression"
    world.write(truth)
    world.predictions(y_true=truth, y_pred=[1.0, 2.0, 3.0])
    assert world.failure(metric).message == f"{metric} is undefined: {why}"
    assert world.values("mae")["mae"] > 0


def test_scores_of_two_classes_need_no_scale_for_roc_auc(world: World) -> None:
    truth, _ = drawn(2)
    margin = np.random.default_rng(0).normal(size=ROWS) + truth
    world.write(truth.tolist())
    world.predictions(y_true=truth, y_pred=(margin > 0).astype(float), y_score_1=margin)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = world.values("roc_auc")
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, margin), abs=1e-12)
    assert "log_loss" not in found
