"""The classes of a label in the splits, and what becomes of those that are too rare for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.reported import StageWarning
from trainingjob.api.v1alpha1.split import Split

from ..base.errors import StageFailure
from ..base.text import cut
from ..dataset.manifest import SPLITS
from .engines.frame import FIRST_FOLD, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame
from .names import printable

# More values than this are not classes but a quantity, or a name for each row.
MAX_CLASSES = 10_000
# Class names in a message, and characters of each.
_SHOWN = 5
_NAME_CHARS = 40

# The rows of each class in each split or fold; nulls are no class.
Counts = Mapping[Any, Mapping[str, int]]
Warn = Callable[[StageWarning], None]


def too_many_classes(task: Task) -> StageFailure:
    """The label has more than MAX_CLASSES values."""
    return StageFailure(
        "LabelInvalid",
        f"the label {task.label} has more than {MAX_CLASSES} different values: it is no class",
    )


def count_classes(engine: Engine, frame: Frame, label: str, folds: int | None) -> Counts | None:
    """The rows of each class in each split, and fold; None for more than MAX_CLASSES of them."""
    name = engine.dialect.ident(label)
    rows = engine.rows(
        f"SELECT {name}, {SPLIT}, count(*) FROM {frame.view} WHERE {name} IS NOT NULL "
        f"GROUP BY 1, 2 LIMIT {(len(SPLITS) + (folds or 0) + 1) * MAX_CLASSES}"
    )
    counts = counts_of(rows)
    return counts if len(counts) <= MAX_CLASSES else None


def counts_of(rows: Collection[tuple[Any, int, int]]) -> Counts:
    """Of (class, number of the split or fold, rows)."""
    names: dict[int, str] = {number: name for name, number in SPLIT_NUMBER.items()}
    counts: dict[Any, dict[str, int]] = {}
    for value, split, count in rows:
        name = names.get(split) or f"fold {split - FIRST_FOLD + 1}"
        counts.setdefault(value, {})[name] = count
    return counts


def called(split: str) -> str:
    """A split or a fold in a message."""
    return f"the {split} split" if split in SPLIT_NUMBER else split


def absent(counts: Counts) -> list[Any]:
    """The classes that some split lacks, of the splits that have rows at all; sorted."""
    splits = set(_splits(counts))
    return sorted(value for value, rows in counts.items() if splits - set(rows))


def _splits(counts: Counts) -> list[str]:
    """The splits and folds that have rows, the splits first."""
    found = {split for rows in counts.values() for split in rows}
    of_folds = sorted(found - set(SPLITS), key=lambda name: (len(name), name))
    return [*(name for name in SPLITS if name in found), *of_folds]


def settle(
    engine: Engine, frame: Frame, task: Task, split: Split, counts: Counts, warn: Warn, final: bool
) -> Frame:
    """The frame without absent classes in its held-out splits, or anywhere, as ``split.rare`` says;
    unless each row was drawn for itself, rows stay where they are when it is unset.
    ``final``: no step follows, so that what is kept in the training split now is reported.

    Raises StageFailure(ClassMissing) when it says so, or when a split would have no rows left."""
    rare = absent(counts)
    if split.rare == "fail" and rare:
        raise StageFailure("ClassMissing", _where_absent(counts, rare))
    if split.rare is None and not split.drawn_by_row:
        if rare and final:
            warn(StageWarning(reason="ClassRare", message=_left(counts, rare)))
        return frame
    dropped = split.rare == "drop"
    changed = [value for value in rare if dropped or set(counts[value]) != {"train"}]
    if (emptied := _emptied(counts, changed, dropped)) is not None:
        # The label may still become another one; of folds no later check sees all.
        if final or split.folds is not None:
            raise emptied
        return frame
    if rare and (dropped or (final and not changed)):
        warn(StageWarning(reason="ClassRare", message=_message(counts, rare, dropped)))
    if not changed:
        return frame
    label, kind = engine.dialect.ident(task.label), frame.columns[task.label]
    values = ", ".join(engine.dialect.literal(value, kind) for value in changed)
    is_changed = f"coalesce({label} IN ({values}), FALSE)"
    names = [engine.dialect.ident(name) for name in frame.columns]
    if dropped:
        query = (
            f"SELECT {', '.join([*names, *frame.hidden])} FROM {frame.view} WHERE NOT {is_changed}"
        )
    else:
        number = f"CAST(CASE WHEN {is_changed} THEN {TRAIN} ELSE {SPLIT} END AS TINYINT) AS {SPLIT}"
        hidden = (number if name == SPLIT else name for name in frame.hidden)
        query = f"SELECT {', '.join([*names, *hidden])} FROM {frame.view}"
    return replace(frame, view=engine.view(query))


def _where_absent(counts: Counts, rare: Collection[Any]) -> str:
    for name in _splits(counts):
        missing = [value for value in rare if name not in counts[value]]
        if missing:
            return f"{called(name)} has no row of class {named(missing)}"
    raise AssertionError("no class is absent")


def _left(counts: Counts, rare: Collection[Any]) -> str:
    """What is nowhere but where it was: by split."""
    missing = {name: [v for v in rare if name not in counts[v]] for name in _splits(counts)}
    parts = [f"{called(name)} has no row of class {named(v)}" for name, v in missing.items() if v]
    return cut(f"{'; '.join(parts)}; to do without these classes, set preprocess.split.rare", 512)


def _emptied(counts: Counts, changed: Collection[Any], dropped: bool) -> StageFailure | None:
    """What to say of a split that has none but these classes."""
    for name in _splits(counts):
        before = {value for value, rows in counts.items() if name in rows}
        if not before - set(changed) and (dropped or name != "train"):
            return StageFailure(
                "ClassMissing",
                f"{called(name)} has only rows of classes that are too rare to be in every "
                f"split: {named(sorted(before))}",
            )
    return None


def _message(counts: Counts, rare: Collection[Any], dropped: bool) -> str:
    rows = sum(sum(counts[value].values()) for value in rare)
    who = "classes {} are" if len(rare) > 1 else "class {} is"
    what = "1 row was" if rows == 1 else f"{rows} rows were"
    where = "dropped" if dropped else "kept in the training split"
    return (
        f"{who.format(named(rare))} too rare to be in every split: {what} {where} "
        "(preprocess.split.rare)"
    )


def named(classes: Collection[Any]) -> str:
    """Class names for a message, cut."""
    shown = ", ".join(printable(str(value))[:_NAME_CHARS] for value in list(classes)[:_SHOWN])
    return shown if len(classes) <= _SHOWN else f"{shown}, … ({len(classes)} in all)"
