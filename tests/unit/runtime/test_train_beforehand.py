"""What can be known before training is told before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.datasets import write_dataset
from trainingjob.api.payload import JobRef, ScriptRef, TrainPayload
from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.train import BuiltInModel, EarlyStopping, Mlp
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.train import beforehand

BUILT_IN = {"model": BuiltInModel(mlp=Mlp())}
OWN = {"script": ScriptRef(inline="pass")}
JUDGED = OWN | {"needs_model": True}


def rows(count: int, **columns: Any) -> pa.Table:
    return pa.table(
        {"a": [1.0] * count, "t": ["x"] * count, "label": ["p", "q"] * (count // 2)} | columns
    )


def dataset(folder: Path, **splits: pa.Table) -> None:
    given = {"train": rows(4), "validation": rows(2), "test": rows(2)} | splits
    found = {name: table for name, table in given.items() if table.num_rows}
    write_dataset(folder, found, label="label", task="classification")  # type: ignore[arg-type]


def own_folder(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)


def half(folder: Path) -> None:
    dataset(folder)
    next((folder / "test").iterdir()).unlink()


def payload(folder: Path, task: dict[str, Any], **train: Any) -> TrainPayload:
    return TrainPayload(
        job=JobRef(namespace="default", name="job", uid="1"),
        attempt=1,
        task=Task(**{"type": "classification", "label": "label"} | task),
        nodes=1,
        procs_per_node=1,
        seed=0,
        **({"needs_model": False} | train),
        dataset=f"file://{folder}",
        checkpoints="file:///nowhere",
        model_uri="file:///nowhere",
    )


A = {"features": ["a"]}
# sentence: dataset, task, train, reason, words
REFUSED = {
    "no folder, and an evaluation": (
        lambda folder: None, {}, JUDGED, "DatasetInvalid", "no such folder; evaluate needs it",
    ),
    "splits of one's own, which preprocess takes": (
        lambda folder: [(folder / name).mkdir(parents=True) for name in ("test", "train")],
        {}, JUDGED, "DatasetInvalid",
        "(it has test/, train/: preprocess.split.files takes such splits); evaluate needs it",
    ),
    "no manifest, and a built-in model": (
        own_folder, {}, BUILT_IN, "DatasetInvalid", "(it has train/); the built-in model needs it",
    ),
    "a file is missing": (half, A, JUDGED, "DatasetInvalid", "is missing or not as its manifest"),
    "another label": (
        dataset, {"label": "a"}, JUDGED, "DatasetInvalid", "the task is classification of a",
    ),
    "another task": (
        dataset, {"type": "regression"}, JUDGED, "DatasetInvalid", "is regression of label",
    ),
    "a feature that is not there": (
        dataset, {"features": ["aa"]}, JUDGED, "ColumnNotFound",
        "task.features: the dataset has no feature aa; did you mean a? (features: a, t)",
    ),
    "text for a built-in model": (dataset, {}, BUILT_IN, "FeatureNotNumeric", "feature t is of"),
    "recall of three classes": (
        lambda folder: dataset(folder, train=rows(4, label=["p", "q", "r", "r"])), {},
        JUDGED | {"metrics": ["recall"]}, "MetricUndefined",
        "recall is about the positive one of two classes, and the label label has 3 (p, q, r); "
        "use recall_macro, the mean over the classes",
    ),
    "a threshold for three classes": (
        lambda folder: dataset(folder, train=rows(4, label=["p", "q", "r", "r"])), A,
        BUILT_IN | {"threshold": 0.5}, "SettingUnsuitable", "evaluate.threshold is about one",
    ),
    "a positive class that is none": (
        dataset, A | {"positive_class": "yes"}, BUILT_IN, "SettingUnsuitable",
        "task.positiveClass: the label has no class yes (classes: p, q)",
    ),
    "no row to judge by": (
        lambda folder: dataset(folder, test=rows(0)), {}, JUDGED, "SplitEmpty", "the test split",
    ),
    "no row to stop by": (
        lambda folder: dataset(folder, validation=rows(0)), A,
        BUILT_IN | {"early_stopping": EarlyStopping()}, "SplitEmpty", "the validation split",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "task", "train", "reason", "words"), REFUSED.values(), ids=REFUSED
)
def test_a_dataset_that_is_not_suitable_is_refused(tmp_path, make, task, train, reason, words):
    make(tmp_path / "data")
    with pytest.raises(StageFailure) as caught:
        beforehand.check(payload(tmp_path / "data", task, **train))
    message = caught.value.message
    assert (caught.value.reason, words in message) == (reason, True), message


def test_what_is_wrong_with_the_dataset_of_a_fold_names_it(tmp_path):
    """With folds, the test split of the whole may be empty, and no fold's."""
    data = tmp_path / "data"
    dataset(data / "fold-1")
    dataset(data / "fold-2", test=rows(0))
    folds = [DatasetManifest.read(data / f"fold-{fold}").digest for fold in (1, 2)]
    found = {"train": rows(4), "validation": rows(2)}
    write_dataset(data, found, label="label", task="classification", folds=folds)
    with pytest.raises(StageFailure) as caught:
        beforehand.check(payload(data, A, **JUDGED))
    assert caught.value.reason == "SplitEmpty"
    assert caught.value.message.startswith("fold 2: the test split of ")
    write_dataset(data, found, label="label", task="classification", folds=folds[:1])
    beforehand.check(payload(data, A, **JUDGED))


def test_a_damaged_record_of_the_last_accepted_model_is_told_before_training(tmp_path):
    dataset(tmp_path / "data")
    (tmp_path / "accepted").mkdir()
    judged = payload(tmp_path / "data", {}, **JUDGED, accepted=f"file://{tmp_path / 'accepted'}")
    beforehand.check(judged)
    (tmp_path / "accepted" / "metrics.json").write_text("{")
    with pytest.raises(StageFailure, match="accepted model, is damaged") as caught:
        beforehand.check(judged)
    assert caught.value.reason == "BaselineInvalid"


SUITABLE = {
    "all that own code wants, without an evaluation": (own_folder, {}, OWN),
    "text for own code": (dataset, {}, JUDGED),
    "a subset for a built-in model": (dataset, A, BUILT_IN),
    "recall of two classes": (
        dataset, A | {"positive_class": "p"}, BUILT_IN | {"metrics": ["recall"], "threshold": 0.5},
    ),
    "text that weighs the rows is no feature": (dataset, {}, BUILT_IN | {"sample_weight": "t"}),
    "nothing to judge by, and no evaluation": (
        lambda folder: dataset(folder, test=rows(0), validation=rows(0)), A, BUILT_IN,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "task", "train"), SUITABLE.values(), ids=SUITABLE)
def test_a_dataset_that_is_suitable_is_trained_on(tmp_path, make, task, train):
    make(tmp_path / "data")
    beforehand.check(payload(tmp_path / "data", task, **train))
