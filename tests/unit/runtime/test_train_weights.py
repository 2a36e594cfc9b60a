"""What a row counts in the loss, against scikit-learn's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from tests.datasets import write_dataset
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import suitable
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.model.target import Target
from trainingjob.runtime.train.data import Split
from trainingjob.runtime.train.weights import Weights

LABELS = np.array([0, 0, 0, 1, 2, 2, 0, 0, 0, 0])
OWN = np.array([1.0, 0, 2, 3, 0.5, 1, 1, 1, 1, 4])


def rows(tmp_path, label: Any = LABELS, weight: Any = OWN, task: str = "classification") -> Rows:
    table = pa.table({"x": np.arange(len(label)), "w": weight, "label": label})
    manifest = write_dataset(
        tmp_path, {"train": table}, label="label", task=task, rows_per_file=4, rows_per_group=3
    )
    features = suitable.learnable(manifest, Task(type=task, label_column="label"), "w")
    assert features == ["x"]
    return Rows(tmp_path, manifest, "train", features)


def weights_of(source: Rows, weights: Weights | None) -> np.ndarray:
    """The rows' weights in the order of the rows."""
    split = Split(source, 10)
    split.weights = weights
    (found,) = split.batches(0, 0, 0, 1)
    x, _, w, total = found
    assert total == pytest.approx(float(w.sum()), rel=1e-6)
    return w[torch.argsort(x[:, 0])].numpy()


# class weights, column -> weights by scikit-learn
CASES = {
    "balanced": ("balanced", None, compute_sample_weight("balanced", LABELS)),
    "a weight by class": ({"1": 5.0, "2": 0.25}, None, np.choose(LABELS, [1, 5, 0.25])),
    "a column": (None, "w", OWN),
    "both": ("balanced", "w", OWN * compute_sample_weight("balanced", LABELS)),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_weigh_what_scikit_learn_has_them_weigh(tmp_path, case: str) -> None:
    class_weights, column, expected = CASES[case]
    source = rows(tmp_path)
    weights = Weights.of_split(source, class_weights, column)
    assert weights_of(source, weights) == pytest.approx(expected, rel=1e-6)


def test_a_class_that_the_split_lacks_counts_for_nothing(tmp_path) -> None:
    source = rows(tmp_path)
    classes = [0, 1, 2, 9]
    source = Rows(tmp_path, source.manifest.model_copy(update={"classes": classes}), "train", ["x"])
    weights = Weights.of_split(source, "balanced", None)
    assert weights is not None
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=LABELS)
    assert weights.by_class[:3] == pytest.approx(expected)


@pytest.mark.parametrize("window_bytes", [2**30, 60, 1])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_knows_what_the_whole_batch_weighs(tmp_path, window_bytes, world) -> None:
    source = rows(tmp_path)
    split = Split(source, 3, window_bytes=window_bytes)
    split.weights = Weights.of_split(source, "balanced", "w")
    ranks = [list(split.batches(7, 1, rank, world)) for rank in range(world)]
    expected = dict(enumerate(OWN * compute_sample_weight("balanced", LABELS)))
    for shares in zip(*ranks, strict=True):
        (total,) = {total for *_, total in shares}
        rows_ = torch.cat([x[:, 0] for x, *_ in shares]).long().tolist()
        own = torch.cat([w for _, _, w, _ in shares])
        assert own.tolist() == pytest.approx([expected[row] for row in rows_], rel=1e-6)
        assert total == pytest.approx(sum(expected[row] for row in rows_), rel=1e-6)


# weight column, class weights -> reason, words
BAD = {
    "negative": ([1.0, -2], None, "WeightInvalid", "the column w in ", "has the value -2"),
    "infinite": ([1.0, float("inf")], None, "WeightInvalid", "w", "has the value inf"),
    "not a number": ([1.0, float("nan")], None, "WeightInvalid", "w", "has the value nan"),
    "beyond float32": ([1.0, 1e300], None, "WeightInvalid", "w", "has the value 1e+300"),
    "null": ([1.0, None], None, "WeightInvalid", "w", "has 1 nulls"),
    "text": (["a", "b"], None, "WeightInvalid", "w", "is string, not a number"),
    "all zero": ([0.0, 0], None, "WeightInvalid", "train split", "has the weight 0"),
    "of no class": ([1.0, 1], {"yes": 2.0}, "SettingUnsuitable", "train.classWeights", "class yes"),
    "nearly of a class": (
        [1.0, 1], {"aa": 2.0, "bb_": 3.0}, "SettingUnsuitable", "class bb_", "did you mean bb?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_weight_is_refused_before_training(tmp_path, case: str) -> None:
    weight, by_class, reason, *words = BAD[case]
    source = rows(tmp_path, ["aa", "bb"], pa.array(weight))
    with pytest.raises(StageFailure) as caught:
        Weights.of_split(source, by_class, "w")
    assert caught.value.reason == reason
    assert all(word in caught.value.message for word in words), caught.value.message


def test_a_column_that_is_not_there(tmp_path) -> None:
    with pytest.raises(StageFailure, match="has no column v") as caught:
        Weights.of_split(rows(tmp_path), None, "v")
    assert caught.value.reason == "ColumnNotFound"


def test_weights_by_a_class_that_is_a_boolean(tmp_path) -> None:
    source = rows(tmp_path, np.array([True, False]), np.ones(2))
    weights = Weights.of_split(source, {"true": 3.0}, None)
    assert weights is not None
    assert weights.by_class.tolist() == [1, 3]


def test_a_label_that_log1p_does_not_take_is_named(tmp_path) -> None:
    source = rows(tmp_path, np.array([2.0, -1.0]), np.ones(2), "regression")
    split = Split(source, 2)
    split.target = Target("log1p")
    with pytest.raises(StageFailure, match="above -1: the label label has -1") as caught:
        split.target_statistics()
    assert caught.value.reason == "SettingUnsuitable"


def test_log1p_there_and_back() -> None:
    values = np.array([0, 1e-9, 3.5, 1e6, -0.5])
    target = Target("log1p", mean=2.0, std=3.0)
    assert target.of(values) == pytest.approx((np.log1p(values) - 2) / 3, rel=1e-12)
    assert target.back(target.of(values)) == pytest.approx(values, rel=1e-9, abs=1e-15)
