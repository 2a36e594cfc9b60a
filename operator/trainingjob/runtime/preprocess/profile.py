"""Features that look wrong: one that alone tells the label, one that names the rows, a constant.

Looked at on a sample of the training rows that is taken by their hash, the same in both engines,
and small enough for the driver.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainingjob.api.v1alpha1.job import Task

from ..base.text import listed
from ..dataset.buffers import numpy_of
from .engines.frame import HASH, SPLIT, TRAIN, Engine, Frame
from .names import quoted
from .notes import Notes

# The sample: so many values in all, so many rows at most and columns at most.
_MOST_VALUES = 1_000_000
_MOST_ROWS = 20_000
_MOST_COLUMNS = 500
# Fewer rows say nothing.
_FEWEST_ROWS = 30
# Ranges of a number's values, of about the same number of rows each.
_BINS = 64
# How much of what is left to guess, when nothing is known of a row, a feature must tell.
_TELLS = 0.98
_TELLS_NUMBER = 0.995
# Rows of other classes than the most frequent one, as few as which say nothing.
_FEWEST_OTHERS = 10
_ID_NAME = re.compile(r"(^|_|\b)(id|ids|uuid|guid|key|index|idx|rowid|nr|no|number)$|Id$|ID$", re.I)

Codes = np.ndarray[Any, np.dtype[np.int64]]


def warn_of_features(
    engine: Engine, frame: Frame, task: Task, features: Sequence[str], notes: Notes
) -> None:
    """Warn of some of the ``features``, in a frame that is split and has the label: as they were
    before they were encoded and scaled, if it is an earlier one."""
    # A column that became several is one of them, too.
    known = set(features)
    found = (
        name
        for name in frame.columns
        if name != task.label
        and (name in known or any(other.startswith(f"{name}_") for other in features))
    )
    columns = list(itertools.islice(found, _MOST_COLUMNS))
    if not columns or frame.layout is None:
        return
    rows = min(_MOST_ROWS, max(_MOST_VALUES // (len(columns) + 1), 1000))
    # The lowest bits of a hash are as good as any others.
    mask = (1 << max(0, -(-frame.layout.rows // rows) - 1).bit_length()) - 1
    names = ", ".join(engine.dialect.ident(name) for name in [*columns, task.label])
    table = engine.arrow(
        f"SELECT {names} FROM {frame.view} WHERE {SPLIT} = {TRAIN} AND ({HASH} & {mask}) = 0"
    )
    if table.num_rows < _FEWEST_ROWS:
        return
    by_class = task.type == "classification"
    for reason, message in findings(table, task.label, by_class, frame.layout.rows):
        notes.warn(reason, message)


def findings(table: pa.Table, label: str, by_class: bool, rows: int) -> Iterator[tuple[str, str]]:
    """Warnings, reason and message, about the columns of a table beside its label; it is a sample
    of so many ``rows``."""
    known = table.filter(pc.is_valid(table[label]))
    target = (
        _codes(known[label]) if by_class else numpy_of(known[label].cast(pa.float64(), safe=False))
    )
    constant, leaks = [], []
    for name in table.column_names:
        if name == label:
            continue
        column = known[name]
        if len(pc.unique(column)) <= 1:
            constant.append(name)
            continue
        told = _told_class(column, target) if by_class else _told_number(column, target)
        if told >= (_TELLS if by_class else _TELLS_NUMBER):
            leaks.append(name)
        elif _is_id(name, column, rows):
            yield "IdLikeFeature", _id_words(name, column)
    for name in leaks:
        yield (
            "LabelLeaked",
            f"feature {name} alone tells the label {label} in the {known.num_rows} rows looked at: "
            f"if it is not known when the model is used, `drop: {{columns: [{name}]}}`",
        )
    if constant:
        some = "feature" if len(constant) == 1 else "features"
        yield (
            "ConstantFeature",
            f"{some} {listed(constant)} {'has' if len(constant) == 1 else 'have'} one value in all "
            f"of the {known.num_rows} rows looked at: nothing is learned of it",
        )


def _id_words(name: str, column: pa.ChunkedArray) -> str:
    ends = pc.min_max(column).as_py()
    drop = f"`drop: {{columns: [{name}]}}`"
    every = f"feature {name} has another value in each of the {len(column)} rows looked at"
    # A counter may as well be a point in time, which is known when the model is used.
    if _is_number(column.type) and abs(ends["max"]) <= 1e9 and not _ID_NAME.search(name):
        return (
            f"{every}, whole numbers from {ends['min']:g} to {ends['max']:g}: if they number the "
            f"rows, {drop}; if they are a time or an order that is known when the model is used, "
            "leave it"
        )
    return (
        f"{every}, as {quoted(str(ends['min']))}: it names the row, and a model learns it by "
        f"heart; {drop}"
    )


def _codes(column: pa.ChunkedArray) -> Codes:
    """A number for each value, null among them."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return numpy_of(encoded.indices).astype(np.int64)


def _numbers(column: pa.ChunkedArray) -> Any:
    return numpy_of(column.cast(pa.float64(), safe=False))


def _groups(column: pa.ChunkedArray) -> Codes:
    """Rows of the same value, or of the same range of a number's values; nulls by themselves."""
    if not _is_number(column.type) or len(pc.unique(column)) <= _BINS:
        return _codes(column)
    valid = numpy_of(column.is_valid())
    values = _numbers(column.drop_null())
    places = np.empty(len(values), dtype=np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(len(values))
    # Equal values are of one range: that of the first of them.
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    least = np.full(len(first), len(values), dtype=np.int64)
    np.minimum.at(least, inverse, places)
    groups = np.full(len(column), _BINS, dtype=np.int64)
    groups[valid] = least[inverse] * _BINS // len(values)
    return groups


def _told_class(column: pa.ChunkedArray, classes: Codes) -> float:
    """How many of the rows that are not of the most frequent class a guess gets right, less those
    that it gets wrong: 1 for all. It guesses the class that most of the *other* rows of the same
    value have, so that a value that only one row has tells nothing."""
    number = int(classes.max()) + 1
    others = len(classes) - np.bincount(classes).max()
    if others < _FEWEST_OTHERS:
        return 0.0
    groups = _groups(column)
    cells, counts = np.unique(groups * number + classes, return_counts=True)
    of_group = cells // number
    sizes = np.bincount(of_group, weights=counts)
    most = np.zeros(len(sizes))
    np.maximum.at(most, of_group, counts)
    right = most[most - 1 > sizes - most].sum()
    told = float(1 - (len(classes) - right) / others)
    if number == 2 and _is_number(column.type) and not column.null_count:
        told = max(told, _told_by_threshold(_numbers(column), classes))
    return told


def _told_by_threshold(values: np.ndarray[Any, Any], classes: Codes) -> float:
    """The same for two classes and a guess by whether a number is above a threshold, the best."""
    order = np.argsort(values, kind="stable")
    ones = np.cumsum(classes[order])
    zeros = np.arange(1, len(order) + 1) - ones
    # Between equal values there is no threshold.
    ends = np.append(values[order][1:] > values[order][:-1], False)
    right = np.maximum(ones + zeros[-1] - zeros, zeros + ones[-1] - ones)[ends]
    wrong = len(order) - right.max(initial=0)
    return float(1 - wrong / min(ones[-1], zeros[-1]))


def _told_number(column: pa.ChunkedArray, target: np.ndarray[Any, Any]) -> float:
    """The share of the label's variance that the mean of the *other* rows of the same value, or
    range of values, tells."""
    # A share has no scale, and squares of large labels are too large for a double.
    target = target / (np.abs(target).max(initial=0) or 1)
    variance = target.var()
    if not variance > 0:
        return 0.0
    groups = _groups(column)
    size = np.bincount(groups)[groups]
    mean = (np.bincount(groups, weights=target) / np.maximum(np.bincount(groups), 1))[groups]
    # The error against the mean of the others; alone in a group: against the mean of all.
    error = np.where(
        size > 1, (target - mean) * size / np.maximum(size - 1, 1), target - target.mean()
    )
    told = float(1 - (error**2).mean() / variance)
    if _is_number(column.type) and not column.null_count:
        # Against the mean of the two rows beside it, in the order of the feature.
        beside = np.pad(target[np.argsort(_numbers(column), kind="stable")], 1, mode="reflect")
        error = beside[1:-1] - (beside[:-2] + beside[2:]) / 2
        told = max(told, float(1 - (error**2).mean() / variance))
    return told


def _is_id(name: str, column: pa.ChunkedArray, rows: int) -> bool:
    """Whether it has another value in every row, and they are no measurements: texts, or whole
    numbers that leave none out, are very large, or are named so."""
    values = column.drop_null()
    if len(values) < _FEWEST_ROWS or len(pc.unique(values)) < len(values):
        return False
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        # Texts of several words differ because they say something.
        spaced = pc.sum(pc.match_substring(values, " ")).as_py()
        return bool(spaced < len(values) / 2)
    if not _is_number(column.type):
        return False
    numbers = _numbers(values)
    if not (numbers == np.floor(numbers)).all():
        return False
    dense = numbers.max() - numbers.min() < 2 * max(rows, len(numbers))
    return bool(dense or np.abs(numbers).max() > 1e9 or _ID_NAME.search(name))


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))
