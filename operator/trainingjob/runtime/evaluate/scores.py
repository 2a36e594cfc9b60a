"""Scores of a large split on disk, and the areas under the ROC and precision-recall curves."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

# Rows whose ranks are looked up at once.
_CHUNK = 2**16


class ScoreFile:
    """Class ids and scores in a temporary file; a class at a time comes back into memory.

    Blocks of float64 [1 + columns, rows], the class ids first: what belongs to a class lies
    together, and float64 keeps ids exact and scores as they were.
    """

    def __init__(self, path: Path, columns: int) -> None:
        self._file = path.open("w+b")
        self._columns = columns
        self._blocks: list[int] = []

    def append(self, truth: np.ndarray, scores: np.ndarray) -> None:
        """``truth`` [n] class ids, ``scores`` [n, columns]."""
        block = np.empty((1 + self._columns, len(truth)))
        block[0] = truth
        block[1:] = scores.T
        self._file.write(block.data)
        self._blocks.append(len(truth))

    def column(self, column: int, of_class: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores in ``column`` of the rows of the class, and of all others; 8 bytes a row."""
        self._file.flush()  # numpy reads past the buffer
        inside = np.empty(sum(self._blocks))
        outside_begins = len(inside)
        begins = 0
        offset = 0
        for rows in self._blocks:
            truth = self._row(offset, rows)
            scores = self._row(offset + (1 + column) * rows * 8, rows)
            ours, others = scores[truth == of_class], scores[truth != of_class]
            inside[begins : begins + len(ours)] = ours
            inside[outside_begins - len(others) : outside_begins] = others
            begins += len(ours)
            outside_begins -= len(others)
            offset += (1 + self._columns) * rows * 8
        return inside[:begins], inside[begins:]

    def _row(self, offset: int, rows: int) -> np.ndarray:
        self._file.seek(offset)
        return np.fromfile(self._file, dtype=np.float64, count=rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """The mean over the positives of the precision at their score: scikit-learn's
    average_precision_score, the area under the steps of precision over recall.

    Sorts both arrays in place; ``positive`` may not be empty.
    """
    positive.sort()
    negative.sort()
    total = 0.0
    for begin in range(0, len(positive), _CHUNK):
        chunk = positive[begin : begin + _CHUNK]
        # Rows whose score is at least that of the positive.
        found = len(positive) - np.searchsorted(positive, chunk, "left")
        wrong = len(negative) - np.searchsorted(negative, chunk, "left")
        total += float((found / (found + wrong)).sum())
    return total / len(positive)


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of pairs in which the positive has the higher score; ties count half.

    That is the Mann-Whitney statistic, which equals the area under the ROC curve (Hanley and
    McNeil, 1982). Sorts both arrays in place; neither may be empty.
    """
    positive.sort()
    negative.sort()
    doubled = 0
    for begin in range(0, len(positive), _CHUNK):
        chunk = positive[begin : begin + _CHUNK]
        doubled += int(np.searchsorted(negative, chunk, "left").sum())
        doubled += int(np.searchsorted(negative, chunk, "right").sum())
    return doubled / (2 * len(positive) * len(negative))
