"""Dividing the rows: exact shares of a random order that is the same everywhere.

Every row has a place in that order, which comes from the row as it was read
(``engines/rowhash.py``): steps that compute, rename or drop columns do not move it, and copies of a
row lie apart. The first share of the places is the test split, the next the validation split, the
rest is for training, in folds if there are some; with ``stratify`` so in each class. Splits of
one's own are in ``groups.py``, ``times.py`` and ``given.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.reported import StageWarning
from trainingjob.api.v1alpha1.split import SHARES, Split

from ..base.errors import StageFailure
from ..base.text import cut, listed
from .classes import (
    MAX_CLASSES,
    Warn,
    absent,
    called,
    count_classes,
    named,
    settle,
    too_many_classes,
)
from .engines.frame import FIRST_FOLD, HASH, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame
from .folds import dealt, refuse_few
from .given import OF_FILE, as_given
from .groups import by_groups
from .keys import Keys
from .names import printable
from .notes import Notes
from .ranks import beside, class_of, places_of
from .times import by_time

# From which part of a share on it is told that it was missed.
_UNEVEN = 0.25


@dataclass(frozen=True)
class Quota:
    """How many rows of a group go to each split."""

    test: int
    validation: int
    train: int

    @classmethod
    def of(cls, rows: int, spec: Split) -> Quota:
        """Shares to the nearest whole number of rows."""
        test = int(rows * spec.share("test") + 0.5)
        validation = min(int(rows * spec.share("validation") + 0.5), rows - test)
        return cls(test, validation, rows - test - validation)


def _fills(rows: int, spec: Split) -> bool:
    """Whether so many rows of a class are enough for every split that is asked for, and fold."""
    quota = Quota.of(rows, spec)
    held_out = all(getattr(quota, name) for name in SHARES if spec.share(name))
    return held_out and quota.train >= (spec.folds or 1)


def keys_of(engine: Engine, spec: Split) -> Keys:
    """The columns that rows are divided by, if there are some."""
    if spec.files is not None:
        return Keys(engine, "files", [OF_FILE])
    field = next((f for f in ("by", "time", "column") if getattr(spec, f) is not None), "")
    return Keys(engine, field, spec.columns)


def split_rows(
    engine: Engine, frame: Frame, spec: Split, task: Task, where: str, warn: Warn, keys: Keys
) -> tuple[Frame, str]:
    """The frame with SPLIT, and in words by what rows were divided, unless each was drawn for
    itself; classes that are too rare to be everywhere follow ``spec.rare``.

    Raises StageFailure(LabelMissing) when the label to stratify by is not there at this point,
    and StageFailure(LabelInvalid, ClassMissing, ColumnNotFound, SplitInvalid, SplitEmpty)."""
    label = task.label if spec.stratify else None
    if label is not None and label not in frame.columns:
        raise StageFailure(
            "LabelMissing",
            f"{where}: rows are divided here, by the label {task.label}, which is not a column yet "
            f"(columns: {listed(frame.columns)})",
        )
    if spec.drawn_by_row:
        words = "" if spec.folds is None else f"into {spec.folds} folds"
        return _drawn(engine, frame, spec, task, label, warn), words
    frame, kinds = keys.recall(frame, where)
    if spec.by is not None:
        divided, words = by_groups(engine, frame, spec, keys, task)
    elif spec.time is not None:
        divided, words = by_time(engine, frame, spec, keys, kinds[0])
    else:
        divided, words = as_given(engine, frame, spec, keys)
    if not spec.given:
        _warn_of_shares(engine, divided, spec, words, warn)
    if task.type == "classification" and task.label in divided.columns:
        counts = count_classes(engine, divided, task.label, spec.folds)
        if counts is not None:
            divided = settle(engine, divided, task, spec, counts, warn, final=False)
    return divided, words


def _drawn(
    engine: Engine, frame: Frame, spec: Split, task: Task, by: str | None, warn: Warn
) -> Frame:
    """Each row for itself."""
    ordered = engine.ordered(frame, spec.seed or 0)
    assert ordered.layout is not None
    refuse_few(Quota.of(ordered.layout.rows, spec).train, spec.folds)
    divided = _divided(engine, ordered, spec, task, by)
    if task.type != "classification" or task.label not in frame.columns:
        return divided
    counts = count_classes(engine, divided, task.label, spec.folds)
    if counts is None:
        return divided  # the checks will tell
    unlucky = [v for v in absent(counts) if _fills(sum(counts[v].values()), spec)]
    if unlucky:
        # Common enough to be everywhere, and yet by chance it is not.
        warn(
            StageWarning(
                reason="SplitStratified",
                message=f"by chance a split would have no row of class {named(unlucky)}, so rows "
                "were divided as preprocess.split.stratify does; set it",
            )
        )
        divided = _divided(engine, ordered, spec, task, task.label)
        counts = count_classes(engine, divided, task.label, spec.folds) or {}
    return settle(engine, divided, task, spec, counts, warn, final=False)


def warn_of_groups(spec: Split, features: Sequence[str], notes: Notes) -> None:
    """Where what names the groups is a feature: no held-out row has a value that was learned."""
    names = [name for name in spec.by or () if name in features]
    if names:
        notes.warn(
            "IdLikeFeature",
            f"feature {listed(names)}: rows are divided by it, so that no held-out row has a value "
            "that the model has learned from; if it only names the groups, "
            f"`drop: {{columns: [{', '.join(names)}]}}`",
        )


def _warn_of_shares(engine: Engine, frame: Frame, spec: Split, words: str, warn: Warn) -> None:
    """Where groups, or rows of the same time, are so large that a share is nothing like asked."""
    found = dict(engine.rows(f"SELECT {SPLIT}, count(*) FROM {frame.view} GROUP BY 1"))
    rows = sum(found.values())
    wanted = {SPLIT_NUMBER[name]: (called(name), spec.share(name)) for name in SHARES}
    if spec.folds is not None:
        left = 1 - sum(found.get(number, 0) for number in wanted) / max(rows, 1)
        wanted |= {
            FIRST_FOLD + fold: (f"fold {fold + 1}", left / spec.folds) for fold in range(spec.folds)
        }
    uneven = []
    for number, (name, asked) in wanted.items():
        share = found.get(number, 0) / max(rows, 1)
        if rows and abs(share - asked) > _UNEVEN * asked:
            uneven.append(f"{share:.0%} of the rows are in {name}, not {asked:.0%}")
    if uneven:
        what = "groups" if spec.by is not None else "the rows of a time"
        message = f"{'; '.join(uneven)}: {what} stay together and are too large ({words})"
        warn(StageWarning(reason="SplitUneven", message=cut(printable(message), 512)))


def _divided(engine: Engine, frame: Frame, spec: Split, task: Task, by: str | None) -> Frame:
    """The frame with SPLIT, each class of column ``by`` for itself."""
    rows = _rows_by_class(engine, frame, task, by)
    quotas = {value: Quota.of(count, spec) for value, count in rows.items()}
    training = {value: [quota.train] for value, quota in quotas.items()}
    last = [TRAIN]
    if spec.folds is not None:
        training = dealt({value: quota.train for value, quota in quotas.items()}, spec.folds)
        last = [FIRST_FOLD + fold for fold in range(spec.folds)]
    numbers = [SPLIT_NUMBER["test"], SPLIT_NUMBER["validation"], *last]
    ranks = {
        value: [*itertools.accumulate([quota.test, quota.validation, *training[value][:-1]])]
        for value, quota in quotas.items()
    }
    source, ends = beside(engine, frame, by, places_of(engine, frame, by, rows, ranks))
    columns = ", ".join(f"r.{engine.dialect.ident(name)}" for name in frame.columns)
    whens = " ".join(
        f"WHEN r.{HASH} < {end} THEN {number}" for end, number in zip(ends, numbers, strict=False)
    )
    view = engine.view(
        f"SELECT {columns}, r.{HASH}, "
        f"CAST(CASE {whens} ELSE {numbers[-1]} END AS TINYINT) AS {SPLIT} FROM {source}"
    )
    return replace(frame, view=view, hidden=(HASH, SPLIT))


def _rows_by_class(engine: Engine, frame: Frame, task: Task, by: str | None) -> dict[Any, int]:
    """Null has a class of its own here; a frame without rows has it, too."""
    assert frame.layout is not None
    if by is None:
        return {None: frame.layout.rows}
    found = engine.rows(
        f"SELECT {class_of(engine, by)}, count(*) FROM {frame.view} AS r "
        f"GROUP BY 1 LIMIT {MAX_CLASSES + 2}"
    )
    if len(found) > MAX_CLASSES + 1:
        raise too_many_classes(task)
    # In the same order on both engines: folds are dealt out in it.
    return dict(sorted(found, key=lambda one: (one[0] is not None, one[0]))) or {None: 0}
