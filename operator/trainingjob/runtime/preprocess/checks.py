"""What must hold for a dataset before it is written: so that training does not find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.reported import StageWarning
from trainingjob.api.v1alpha1.split import Split

from ..base.errors import StageFailure
from ..base.text import listed
from ..dataset.manifest import SplitName
from ..dataset.meant import meant
from . import advice
from .classes import MAX_CLASSES, Counts, Warn, counts_of, settle, too_many_classes
from .engines.frame import SPLIT, SPLIT_NUMBER, Engine, Frame
from .names import column_not_found, flow, in_sql, no_column, quoted

_LARGEST = 1e140
# Of so few a share may well be none.
_FEW_ROWS = 10


@dataclass(frozen=True)
class Summary:
    """What was counted: rows of each split, and of each class in it; for regression the label's
    mean and standard deviation in each split, as far as they are no overflow."""

    rows: dict[SplitName, int]
    counts: Counts | None
    moments: dict[SplitName, tuple[float, float]]

    @property
    def classes(self) -> list[bool | int | float | str] | None:
        """The classes, sorted."""
        return None if self.counts is None else sorted(self.counts)


def choose_columns(
    engine: Engine, frame: Frame, task: Task, weight: str | None, hint: str = ""
) -> tuple[Frame, list[str]]:
    """The features, and a frame of them, the label and the ``weight`` (train.sampleWeight), in that
    order when features are listed. ``hint``: why a column may not be there.

    Raises StageFailure(LabelMissing, ColumnNotFound, NoFeatures)."""
    if task.label not in frame.columns:
        raise StageFailure(
            "LabelMissing",
            f"task.label: {no_column(task.label, [*frame.columns, *frame.unread])}"
            f"{hint and f'; {hint}'}",
        )
    if weight is not None and weight not in frame.columns:
        raise column_not_found("train.sampleWeight", weight, list(frame.columns), frame.unread)
    apart = [task.label, *([weight] if weight else [])]
    if task.features is None:
        features = [name for name in frame.columns if name not in apart]
        if not features:
            raise StageFailure(
                "NoFeatures",
                f"there is no column besides the label {' and the weight '.join(apart)}",
            )
        return frame, features
    features = []
    columns = [name for name in frame.columns if name not in apart]
    for name in task.features:
        found = meant(name, columns)
        if not found:
            raise column_not_found("task.features", name, list(frame.columns), frame.unread)
        features += found
    features = list(dict.fromkeys(features))
    kinds = {name: frame.columns[name] for name in [*features, *apart]}
    names = [engine.dialect.ident(name) for name in kinds]
    query = f"SELECT {', '.join([*names, *frame.hidden])} FROM {frame.view}"
    return frame.over(engine.view(query), kinds), features


def check(
    engine: Engine, frame: Frame, task: Task, split: Split, counted: Sequence[str], warn: Warn
) -> tuple[Frame, Summary]:
    """Count the rows, nulls and classes of every split in one query, and judge them; the frame is
    another one when classes that are too rare for the splits were moved or dropped.

    ``counted``: features that must be numbers without nulls. Raises StageFailure with the reasons
    of the label, the features and the splits."""
    _check_types(engine, frame, counted)
    _check_label_type(engine, frame, task)
    by_class = task.type == "classification"
    label = engine.dialect.ident(task.label)
    counts = ", ".join(["count(*)", *(f"count({engine.dialect.ident(name)})" for name in counted)])
    # Larger values would overflow.
    value = f"CAST({label} AS DOUBLE)"
    moderate = f"CASE WHEN abs({value}) < {engine.dialect.double(_LARGEST)} THEN {value} END"
    if by_class:
        query = f"SELECT {SPLIT}, {label}, {label}, {counts} FROM {frame.view} GROUP BY 1, 2, 3"
        query += f" LIMIT {4 * MAX_CLASSES}"
    else:
        query = (
            f"SELECT {SPLIT}, min({label}), max({label}), {counts}, avg({moderate}), "
            f"stddev_pop({moderate}), count({label}) FROM {frame.view} GROUP BY 1"
        )
    groups = engine.rows(query)
    rows = {name: _total(groups, number, 3) for name, number in SPLIT_NUMBER.items()}
    summary = {name: rows[name] for name in ("train", "validation", "test")}
    if by_class:
        # Before the splits: stratified by a quantity, they have no rows.
        _check_label_values(groups, task)
    check_splits(summary, split)  # type: ignore[arg-type]
    total = sum(rows.values())
    if by_class:
        null_rows = {number: count for number, value, _, count, *_ in groups if value is None}
    else:
        null_rows = {group[0]: group[3] - group[-1] for group in groups if group[3] > group[-1]}
    if null_rows:
        where = [name for name, number in SPLIT_NUMBER.items() if null_rows.get(number)]
        all_of = len(where) == 1 and sum(null_rows.values()) == rows[where[0]]
        raise StageFailure(
            "LabelHasNulls",
            f"the label {task.label} is null in {sum(null_rows.values())} of {total} rows"
            + (f", all those of the {where[0]} split" if all_of else ""),
        )
    for index, name in enumerate(counted):
        missing = total - sum(group[4 + index] for group in groups)
        if missing:
            raise StageFailure(
                "FeatureHasNulls", f"column {name} is null in {missing} of {total} rows"
            )
    if min(g[1] for g in groups) == max(g[2] for g in groups):
        raise StageFailure(
            "LabelConstant", f"the label {task.label} is {groups[0][1]} in every row"
        )
    if not by_class:
        return frame, Summary(summary, None, _moments(groups))  # type: ignore[arg-type]
    by_split = counts_of([(value, number, count) for number, value, _, count, *_ in groups])
    _warn_of_alike(by_split, task, warn)
    changed = settle(engine, frame, task, split, by_split, warn, final=True)
    if changed is not frame:
        return check(engine, changed, task, split, counted, warn)
    return frame, Summary(summary, by_split, {})  # type: ignore[arg-type]


def _moments(groups: list[tuple[Any, ...]]) -> dict[SplitName, tuple[float, float]]:
    names = {number: name for name, number in SPLIT_NUMBER.items()}
    return {
        names[split]: (mean, deviation)
        for split, least, greatest, *_, mean, deviation, _ in groups
        if -_LARGEST < least <= greatest < _LARGEST
    }


def _total(groups: list[tuple[Any, ...]], split: int, column: int) -> int:
    return sum(group[column] for group in groups if group[0] == split)


def _check_types(engine: Engine, frame: Frame, features: Sequence[str]) -> None:
    wrong = [n for n in features if frame.columns[n] in ("string", "date", "timestamp")]
    if wrong:
        named = listed([f"{name} ({frame.columns[name]})" for name in wrong])
        raise StageFailure(
            "FeatureNotNumeric",
            f"the built-in model takes numbers only, not {named}; "
            f"{advice.of_features(engine, frame, wrong)}",
        )


def _check_label_type(engine: Engine, frame: Frame, task: Task) -> None:
    kind = frame.columns[task.label]
    if task.type == "regression" and kind not in ("bigint", "double"):
        what = f"the label {task.label} is a {kind}; regression needs a number"
        if kind == "string":
            what = f"{what}: {advice.of_label(engine, frame, task.label)}"
        raise StageFailure("LabelInvalid", what)
    if task.type == "classification" and kind in ("date", "timestamp"):
        raise StageFailure("LabelInvalid", f"the label {task.label} is a {kind}, not a class")


def check_splits(rows: dict[SplitName, int], split: Split) -> None:
    """Raises StageFailure(NoRowsLeft, SplitEmpty) for a split that is asked for and has none."""
    if not sum(rows.values()):
        raise StageFailure("NoRowsLeft", "no row is left after the last step")
    for name, is_asked in (
        ("train", True),
        ("validation", split.asks("validation")),
        ("test", split.asks("test")),
    ):
        if is_asked and not rows[name]:  # type: ignore[index]
            total = sum(rows.values())
            words = f"the {name} split has no rows; there are {total} in all"
            if split.stratify and total > _FEW_ROWS:
                words += (
                    ": preprocess.split.stratify divides the rows of each value of the label by "
                    "themselves, and these are too few; unset it for a label that is a quantity"
                )
            raise StageFailure("SplitEmpty", words)


def _warn_of_alike(counts: Counts, task: Task, warn: Warn) -> None:
    """Where classes differ in nothing but case and the blanks around them."""
    found: dict[str, str] = {}
    for value in sorted(value for value in counts if isinstance(value, str)):
        other = found.setdefault(value.strip().casefold(), value)
        if other != value:
            column = in_sql(task.label)
            message = (
                f"the label {task.label} has the classes {quoted(other)} and {quoted(value)}; if "
                f"they are one: `withColumn: {{name: {flow(task.label)}, "
                f'expr: "lower(trim({column}))"}}`'
            )
            warn(StageWarning(reason="ClassesAlike", message=message))
            return


def _check_label_values(groups: list[tuple[Any, ...]], task: Task) -> None:
    values = {label for _, label, *_ in groups if label is not None}
    for value in sorted(v for v in values if isinstance(v, float)):
        if not value.is_integer():
            raise StageFailure(
                "LabelInvalid",
                f"the label {task.label} has the value {value}, which is no class; if it is a "
                "quantity, set task.type to regression",
            )
    if len(values) > MAX_CLASSES:
        raise too_many_classes(task)
