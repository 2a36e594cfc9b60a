"""Dividing groups of rows: those of one group stay together, and groups are drawn.

Groups lie in a random order that comes from their values. In that order each is taken for the test
split if that brings the split nearer to its share of the rows, then for the validation split
likewise; what is left is for training. The share is missed by half of the largest group at most.
Stratified, nearer means so in the rows of all classes, each in parts of its own rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from trainingjob.api.v1alpha1.job import Task
from trainingjob.api.v1alpha1.split import SHARES, HeldOut, Split

from ..base.errors import StageFailure
from ..dataset.buffers import numpy_of, values_of
from ..dataset.manifest import SplitName
from .classes import MAX_CLASSES, too_many_classes
from .engines.frame import FIRST_FOLD, GROUP, HASH, SPLIT, SPLIT_NUMBER, TRAIN, Engine, Frame
from .folds import at_most
from .keys import Keys

# Of more groups, and of more classes in them, those that lie beside each other go together.
MOST_GROUPS = 100_000
MOST_CELLS = 1_000_000

Counts = np.ndarray[Any, np.dtype[np.int64]]


def by_groups(
    engine: Engine, frame: Frame, spec: Split, keys: Keys, task: Task
) -> tuple[Frame, str]:
    """The frame with SPLIT, and what was done in words.

    Raises StageFailure(SplitInvalid, SplitEmpty, LabelInvalid)."""
    ordered = engine.ordered(frame, spec.seed or 0, keys.hidden)
    keys.refuse_nulls(ordered)
    value = engine.dialect.ident(task.label) if spec.stratify else "CAST(NULL AS BOOLEAN)"
    ((groups, classes),) = engine.rows(
        f"SELECT count(DISTINCT {GROUP}), count(DISTINCT {value}) FROM {ordered.view}"
    )
    if classes > MAX_CLASSES:
        raise too_many_classes(task)
    most = min(MOST_GROUPS, MOST_CELLS // (classes + 1))
    together = groups > most
    bits = int(math.log2(most)) if together else 64
    group = f"({GROUP} >> {64 - bits})" if together else GROUP
    table = engine.arrow(
        f"SELECT {group} AS g, {value} AS c, count(*) AS n FROM {ordered.view} GROUP BY 1, 2"
    )
    places, counts = _matrix(table)
    taken = assigned(counts, {name: spec.share(name) for name in SHARES})
    if groups:
        _refuse_empty(taken, spec, keys, groups)
        if spec.folds is not None:
            taken = folded(counts, taken, spec.folds)
    held_out = [(int(place), int(n)) for place, n in zip(places, taken, strict=True) if n != TRAIN]
    # Spark makes no table of no rows.
    lookup = engine.table({"g": "bigint", "s": "bigint"}, held_out or [(0, TRAIN)])
    columns = ", ".join(f"r.{engine.dialect.ident(name)}" for name in ordered.columns)
    view = engine.view(
        f"SELECT {columns}, r.{HASH}, CAST(coalesce(c.s, {TRAIN}) AS TINYINT) AS {SPLIT} "
        f"FROM {ordered.view} AS r LEFT JOIN {lookup} AS c "
        f"ON {group.replace(GROUP, f'r.{GROUP}')} = c.g"
    )
    words = f"by {', '.join(keys.names)}: {groups} groups"
    if not together:
        found = {name: int((taken == number).sum()) for name, number in SPLIT_NUMBER.items()}
        words += f", {found['test']} of them test, {found['validation']} validation"
    if spec.folds is not None:
        words += f", in {spec.folds} folds"
    return replace(ordered, view=view, hidden=(HASH, SPLIT)), words


def _matrix(table: pa.Table) -> tuple[Counts, Counts]:
    """The places of groups, in order, and the rows of each class in each of them."""
    # The same order of groups and classes whatever the engine.
    table = table.sort_by([("g", "ascending"), ("c", "ascending")]).combine_chunks()
    places, row = np.unique(numpy_of(table["g"]), return_inverse=True)
    classes = table["c"].combine_chunks().dictionary_encode(null_encoding="encode")
    column = values_of(classes.indices, np.int32)
    counts = np.zeros((len(places), len(classes.dictionary)), dtype=np.int64)
    counts[row, column] = numpy_of(table["n"])
    return places, counts


def assigned(counts: Counts, shares: Mapping[HeldOut, float]) -> Counts:
    """The number of the split of each group, whose rows of each class are a row of ``counts``."""
    split = np.full(len(counts), TRAIN)
    sizes = counts.sum(axis=1)
    totals = counts.sum(axis=0)
    weights = 1.0 / np.maximum(totals, 1) ** 2
    asked = [name for name, share in shares.items() if share]
    for number, name in enumerate(asked):
        missing = shares[name] * totals
        # Of those that are free, the last ones are for the later splits and for training.
        free = np.flatnonzero(split == TRAIN)
        spare = len(free) - (len(asked) - number)
        taken = 0
        for index in free:
            rows = counts[index]
            # (missing - rows)² - missing², the sum of the classes'.
            if taken < spare and (weights * rows) @ (rows - 2 * missing) <= 0:
                split[index] = SPLIT_NUMBER[name]
                missing = missing - rows
                taken += 1
        if not taken and spare > 0:
            # All are too large: the smallest one is nearest.
            split[free[np.argmin(sizes[free])]] = SPLIT_NUMBER[name]
    return split


def folded(counts: Counts, split: Counts, folds: int) -> Counts:
    """The same with the groups that are for training in folds, of which there are no more than
    such groups: each is taken for the fold that has the fewest rows, the largest groups first, as
    scikit-learn's GroupKFold does. Of several classes those count that the group has, each in parts
    of its own rows."""
    split = split.copy()
    free = np.flatnonzero(split == TRAIN)
    totals = counts[free].sum(axis=0)
    weights = 1.0 / np.maximum(totals, 1) ** 2
    filled = np.zeros((folds, counts.shape[1]))
    order = free[np.argsort(-counts[free].sum(axis=1), kind="stable")]
    for left, index in zip(range(len(order), 0, -1), order, strict=True):
        rows = counts[index]
        sizes = filled.sum(axis=1)
        # (filled + rows)² - filled², the sum of the classes', but for what is the same for all.
        least = np.lexsort((sizes, filled @ (weights * rows)))
        empty = least[sizes[least] == 0]
        fold = empty[0] if len(empty) >= left else least[0]
        filled[fold] += rows
        split[index] = FIRST_FOLD + fold
    return split


def _refuse_empty(taken: Counts, spec: Split, keys: Keys, groups: int) -> None:
    wanted: list[SplitName] = ["train", *(name for name in SHARES if spec.share(name))]
    empty = [name for name in wanted if SPLIT_NUMBER[name] not in taken]
    if empty:
        many = "1 group" if groups == 1 else f"{groups} groups"
        raise StageFailure(
            "SplitEmpty",
            f"preprocess.split.by: {many} of equal {' and '.join(keys.names)}, too few for the "
            f"splits {', '.join(wanted)}; divide by a column of more values, or set "
            "preprocess.split.validation to 0",
        )
    left = int((taken == TRAIN).sum())
    if spec.folds is not None and left < spec.folds:
        raise StageFailure(
            "SplitEmpty",
            f"preprocess.split.folds: {left} groups of equal {' and '.join(keys.names)} are too "
            f"few for {spec.folds} folds{at_most(left)}",
        )
