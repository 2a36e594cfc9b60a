"""Trees of scikit-learn's histogram gradient boosting, as arrays in ``model.safetensors``.

Nothing is unpickled: what its predictor walks is made of the arrays again, once each index in them
was seen to lead to something, and each node to one behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..base.errors import StageFailure
from .config import ModelConfig, read, write
from .folder import WEIGHTS

# Fields of a node that prediction reads, by scikit-learn's name, and as they are kept.
_NODE = {
    "value": "<f8",
    "num_threshold": "<f8",
    "feature_idx": "<i4",
    "left": "<u4",
    "right": "<u4",
    "bitset_idx": "<u4",
    "missing_go_to_left": "u1",
    "is_leaf": "u1",
    "is_categorical": "u1",
}
# ``nodes`` of each tree; ``bitsets``: of each split by category those that go left, uint32 [s, 8],
# of which ``splits`` belong to each tree; ``baseline``: float64 [outputs].
_OTHERS = {"nodes": "<i8", "splits": "<i8", "bitsets": "<u4", "baseline": "<f8"}
_WORDS = 8  # of 32 categories
# Below that threads wait longer for each other than they work.
_ROWS_OF_A_THREAD = 1024


@dataclass(frozen=True)
class Trees:
    """``predictors``: scikit-learn's, [iterations][outputs]."""

    config: ModelConfig
    predictors: Sequence[Sequence[Any]]
    baseline: np.ndarray

    @property
    def categories(self) -> dict[str, list[str]]:
        """The values of each text in training."""
        return self.config.categories or {}

    def raw(self, features: np.ndarray, threads: int = 1) -> np.ndarray:
        """Of features float64 [n, d], a text as the index of its category, a null as NaN: float64
        [n, k], log odds of classes (of two k is 1, and it is those of the second), or values."""
        rows = np.ascontiguousarray(features, dtype=np.float64)
        threads = max(1, min(threads, len(rows) // _ROWS_OF_A_THREAD))
        # Values that training has not seen are NaN before they come here: all are known.
        known = np.full((1, _WORDS), 2**32 - 1, dtype=np.uint32)
        place = np.zeros(rows.shape[1], dtype=np.uint32)
        found = np.tile(self.baseline, (len(rows), 1))
        for trees in self.predictors:
            for output, tree in enumerate(trees):
                found[:, output] += tree.predict(rows, known, place, threads)
        return found

    def predict(self, features: np.ndarray, threads: int = 1) -> np.ndarray:
        """As ``raw``, or values [n] in the label's unit."""
        found = self.raw(features, threads)
        if self.config.task == "classification":
            return found
        return self.config.target.back(found[:, 0])


def save_trees(folder: Path, trees: Trees) -> None:
    """Write the model's two files. Raises OSError."""
    flat = [tree for iteration in trees.predictors for tree in iteration]
    nodes = [tree.nodes for tree in flat]
    bitsets = [tree.raw_left_cat_bitsets.reshape(-1, _WORDS) for tree in flat]
    arrays = {name: _joined([one[name] for one in nodes], kind) for name, kind in _NODE.items()}
    arrays |= {
        "nodes": np.array([len(one) for one in nodes], dtype="<i8"),
        "splits": np.array([len(one) for one in bitsets], dtype="<i8"),
        "bitsets": _joined(bitsets, "<u4", _WORDS),
        "baseline": np.ascontiguousarray(trees.baseline, dtype="<f8"),
    }
    write(folder, trees.config, safetensors.numpy.save(arrays))


def load_trees(folder: Path) -> Trees:
    """Read what ``save_trees`` wrote. Raises StageFailure(ModelMissing, ModelCorrupt)."""
    config, data = read(folder)
    try:
        arrays = safetensors.numpy.load(data)
        return _made(config, arrays)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise StageFailure(
            "ModelCorrupt", f"{folder / WEIGHTS} does not hold the trees of its config.json"
        ) from error


def _made(config: ModelConfig, arrays: dict[str, np.ndarray]) -> Trees:
    """Raises ValueError, KeyError."""
    # Where they are private, and have been since scikit-learn 0.21.
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    if any(arrays[name].dtype != kind for name, kind in (_NODE | _OTHERS).items()):
        raise ValueError("an array is of another type")
    counts, splits, bitsets = arrays["nodes"], arrays["splits"], arrays["bitsets"]
    total, outputs = len(arrays["value"]), len(arrays["baseline"])
    _require(all(arrays[name].shape == (total,) for name in _NODE), arrays["baseline"].ndim == 1)
    _require(outputs == (1 if config.outputs == 2 else config.outputs))
    _require(counts.ndim == 1, len(counts) % outputs == 0, counts.shape == splits.shape)
    _require((counts > 0).all(), (splits >= 0).all(), bitsets.shape == (len(bitsets), _WORDS))
    _require(counts.sum() == total, splits.sum() == len(bitsets))
    nodes = np.zeros(total, dtype=PREDICTOR_RECORD_DTYPE)
    for name in _NODE:
        nodes[name] = arrays[name]
    ends, split_ends = np.cumsum(counts), np.cumsum(splits)
    _check(nodes, counts, ends, splits, len(config.features))
    _require(np.isfinite(nodes["value"]).all(), np.isfinite(arrays["baseline"]).all())
    trees = []
    for count, end, some, last in zip(counts, ends, splits, split_ends, strict=True):
        left = bitsets[last - some : last]
        # The second one is that of binned values, which nobody has here.
        trees.append(TreePredictor(nodes[end - count : end], left, left))
    rows = [trees[at : at + outputs] for at in range(0, len(trees), outputs)]
    return Trees(config, rows, arrays["baseline"])


def _check(
    nodes: np.ndarray, counts: np.ndarray, ends: np.ndarray, splits: np.ndarray, features: int
) -> None:
    """Whoever walks a tree looks at no index twice: here all are."""
    at = np.arange(len(nodes)) - np.repeat(ends - counts, counts)
    of_tree, categories = np.repeat(counts, counts), np.repeat(splits, counts)
    inner = nodes["is_leaf"] == 0
    for side in ("left", "right"):
        child = nodes[side].astype(np.int64)
        _require(((child > at) & (child < of_tree))[inner].all())
    column = nodes["feature_idx"]
    _require(((column >= 0) & (column < features))[inner].all())
    by_category = inner & (nodes["is_categorical"] != 0)
    _require((nodes["bitset_idx"] < categories)[by_category].all())


def _require(*conditions: Any) -> None:
    if not all(conditions):
        raise ValueError("its arrays do not fit together")


def _joined(arrays: Sequence[np.ndarray], kind: str, *shape: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, *shape), kind), *arrays]).astype(kind)
