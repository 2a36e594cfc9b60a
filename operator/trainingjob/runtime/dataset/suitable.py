"""Whether a dataset is one for the task: looked at by every stage that has not made it itself.

All by its manifest alone, so that it can be told before anything is learned from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from trainingjob.api.v1alpha1.evaluate import BINARY_METRICS
from trainingjob.api.v1alpha1.job import Task

from ..base.errors import StageFailure
from ..base.text import listed
from .classes import index_of
from .manifest import DatasetManifest
from .meant import meant

NUMBERS = ("boolean", "bigint", "double")


def check(manifest: DatasetManifest, task: Task, folder: Path | None = None) -> None:
    """Raises StageFailure(DatasetInvalid, LabelInvalid) when it was prepared for another task."""
    what = str(folder) if folder is not None else "the dataset"
    if (manifest.task, manifest.label) != (task.type, task.label):
        raise StageFailure(
            "DatasetInvalid",
            f"{what} was prepared for {manifest.task} of {manifest.label}, "
            f"the task is {task.type} of {task.label}",
        )
    if task.type == "regression" and manifest.columns.get(task.label) not in NUMBERS:
        raise StageFailure("LabelInvalid", f"label {task.label} is not a number")
    if task.type == "languageModel" and manifest.tokens is None:
        raise StageFailure("DatasetInvalid", f"{what} has no tokens")
    if manifest.tokens is not None:
        of = {True: "messages", False: "text"}
        has, wants = manifest.tokens.chat_template is not None, task.messages is not None
        if has != wants:
            raise StageFailure(
                "DatasetInvalid",
                f"{what} was prepared for task.{of[has]}, and the task has {of[wants]}",
            )
    if task.type == "classification" and not manifest.classes:
        raise StageFailure("DatasetInvalid", f"{what} names no classes of its label")


def features(manifest: DatasetManifest, task: Task, weight: str | None = None) -> list[str]:
    """The columns to learn from, in the manifest's order: all, or those that the task lists; the
    column that weighs the rows is none of them.

    Of texts there are none. Raises StageFailure(ColumnNotFound, NoFeatures)."""
    if manifest.tokens is not None:
        return []
    known = [name for name in manifest.features if name != weight]
    listed_ones: set[str] = set()
    for name in task.features or ():
        found = meant(name, known)
        listed_ones |= {*found}
        if not found:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise StageFailure(
                "ColumnNotFound",
                f"task.features: the dataset has no feature {name}{hint} "
                f"(features: {listed(known)})",
            )
    if task.features is not None:
        known = [name for name in known if name in listed_ones]
    if not known:
        raise StageFailure("NoFeatures", "the dataset has no columns besides the label")
    return known


def check_types(manifest: DatasetManifest, names: list[str], *, texts: bool = False) -> None:
    """Raises StageFailure(FeatureNotNumeric) for what a built-in model cannot take, which may take
    ``texts``."""
    for name in names:
        type_ = manifest.columns.get(name)
        if type_ not in NUMBERS and not (texts and type_ == "string"):
            hint = "; take parts of it by the step dateParts" if texts else ""
            raise StageFailure("FeatureNotNumeric", f"feature {name} is of type {type_}{hint}")


def positive(
    manifest: DatasetManifest, task: Task, metrics: Iterable[str], threshold: float | None
) -> int | None:
    """The id of the positive one of two classes; None when there are more, or for regression.

    Raises StageFailure(SettingUnsuitable, MetricUndefined) when what is asked for needs two
    classes, or when task.positiveClass is none of them."""
    classes = manifest.classes or []
    if len(classes) == 2:
        name = task.positive_class
        return 1 if name is None else index_of(classes, name, "task.positiveClass")
    has = f"label {task.label} has {len(classes)} ({listed([*map(str, classes)])})"
    for field, value in (
        ("task.positiveClass", task.positive_class),
        ("evaluate.threshold", threshold),
    ):
        if value is not None:
            raise StageFailure(
                "SettingUnsuitable", f"{field} is about one of two classes, and the {has}"
            )
    for name in metrics:
        if name in BINARY_METRICS:
            others = "roc_auc" if name == "average_precision" else f"{name}_macro"
            raise StageFailure(
                "MetricUndefined",
                f"{name} is about the positive one of two classes, and the {has}; "
                f"use {others}, the mean over the classes",
            )
    return None


def learnable(
    manifest: DatasetManifest, task: Task, weight: str | None = None, *, texts: bool = False
) -> list[str]:
    """The features of a built-in model. Raises StageFailure as the functions above."""
    check(manifest, task)
    names = features(manifest, task, weight)
    check_types(manifest, names, texts=texts)
    return names


def check_rows(manifest: DatasetManifest, split: str, folder: Path) -> None:
    """Raises StageFailure(SplitEmpty) when the split is needed and has no rows."""
    found = {str(name): info.rows for name, info in manifest.splits.items()}
    if not found.get(split):
        raise StageFailure("SplitEmpty", f"the {split} split of {folder} has no rows")
