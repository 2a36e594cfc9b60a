"""Where predictions come from: a model of own code, a built-in one, or a file of predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.errors import StageFailure
from ..dataset.columns import NUMBERS, Encoding
from ..dataset.labels import Classes
from ..dataset.rows import Rows
from ..model.config import read_config
from ..model.folder import (
    CONFIG,
    OF_OWN_CODE,
    ONNX,
    PREDICTIONS,
    TEXT_CLASSIFIER,
    VARIANTS,
    Kind,
)
from .judgement import Batch
from .predictions import read_predictions
from .sandbox import Sandboxed

_SMALL_NETWORK = 100_000
# How far above 1 a probability of float32 may be.
_ROUNDED = 1e-5


def predict(kind: Kind, folder: Path, split: Rows) -> Iterator[Batch]:
    """Predictions for every row of the split, in batches.

    Raises StageFailure(ModelCorrupt, PredictionsInvalid, DatasetInvalid, FeatureNotNumeric,
    FeatureHasNulls, SettingUnsuitable).
    """
    if kind == "predictions":
        yield from read_predictions(folder / PREDICTIONS, split)
        return
    if kind == TEXT_CLASSIFIER:
        from . import texts

        yield from texts.predict(folder / CONFIG, split)
        return
    yield from run(load(kind, folder, split), split)


def run(model: Runnable, split: Rows) -> Iterator[Batch]:
    """As ``predict``, of a model that was loaded."""
    for features, truth in split.examples(model.features, model.encoding):
        yield model.batch(features, truth)


@dataclass(frozen=True)
class Runnable:
    """A model that can be run: on [n, d], the values of ``features`` in its ``encoding``."""

    path: Path
    features: Sequence[str]
    classes: Classes | None
    run: Callable[[np.ndarray], np.ndarray]
    encoding: Encoding = NUMBERS

    def batch(self, features: np.ndarray, truth: np.ndarray) -> Batch:
        """Predictions for rows. Raises StageFailure(ModelCorrupt)."""
        return batch_of(self.path, truth, self.run(features), self.classes)


def load(kind: Kind, folder: Path, split: Rows) -> Runnable:
    """The model in the folder. Raises StageFailure(ModelCorrupt)."""
    if kind in OF_OWN_CODE:
        # Own code may heed task.features, or learn from all that the dataset has.
        choices = [split.manifest.features, split.features]
        return graph(kind, folder / OF_OWN_CODE[kind], split, *choices)
    return _built_in(folder, split)


def variant(folder: Path, name: str, split: Rows) -> Runnable:
    """The built-in model in the folder in another form. Raises StageFailure(ModelCorrupt)."""
    path = folder / VARIANTS / name / ONNX
    return graph("onnx", path, split, read_config(folder).features)


def graph(kind: Kind, path: Path, split: Rows, *choices: Sequence[str]) -> Runnable:
    """A model in a process of its own; ``choices``: the features that it may take, in their orders.
    Raises StageFailure(ModelCorrupt)."""
    model = Sandboxed(kind, path, choices)

    def run(features: np.ndarray) -> np.ndarray:
        output = model.predict(features)
        return _logits(path, output) if model.probabilities and split.classes else output

    return Runnable(path, model.features, split.classes, run)


def _logits(path: Path, probabilities: np.ndarray) -> np.ndarray:
    """Of probabilities [n, classes], or [n] or [n, 1] of the second one of two."""
    if not ((probabilities >= 0) & (probabilities <= 1 + _ROUNDED)).all():
        raise StageFailure("ModelCorrupt", f"{path} gives probabilities that are not in 0 to 1")
    with np.errstate(divide="ignore"):
        if probabilities.ndim == 1 or probabilities.shape[1] == 1:
            rest = np.clip(1 - probabilities, 0, 1)
            return np.clip(np.log(probabilities) - np.log(rest), -1e300, 1e300)
        return np.clip(np.log(probabilities), -1e300, 1e300)


def _built_in(folder: Path, split: Rows) -> Runnable:
    config, manifest = read_config(folder), split.manifest
    for what, ours, theirs in (
        ("task", config.task, manifest.task),
        ("label", config.label, manifest.label),
        ("features", config.features, [x for x in split.features if x != config.sample_weight]),
        ("classes", config.classes, manifest.classes),
    ):
        if ours != theirs:
            raise StageFailure(
                "ModelCorrupt",
                f"{folder} was trained for other {what} than {split.folder} has: "
                f"{ours!s:.80} instead of {theirs!s:.80}",
            )
    make = _network if config.mlp is not None else _trees
    run, encoding = make(folder)
    return Runnable(folder / CONFIG, config.features, split.classes, run, encoding)


def _network(folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], Encoding]:
    import torch

    from ..model.mlp import load_model

    model = load_model(folder)
    small = sum(weight.numel() for weight in model.network.parameters()) <= _SMALL_NETWORK

    def run(features: np.ndarray) -> np.ndarray:
        if small:
            # It is done with a batch before threads have met: on a busy machine, and under a CPU
            # limit, waiting for each other takes ten times as long. Here and not above, as OpenMP
            # heeds it in the thread that says it.
            torch.set_num_threads(1)
        return model.predict(features).double().numpy()

    return run, NUMBERS


def _trees(folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], Encoding]:
    from ..model.trees import load_trees

    model, threads = load_trees(folder), int(os.environ.get("OMP_NUM_THREADS", "1"))
    encoding = Encoding(np.float64, model.categories)
    return lambda features: model.predict(features, threads), encoding


def batch_of(path: Path, truth: np.ndarray, output: np.ndarray, classes: Classes | None) -> Batch:
    """Outputs float64 to predictions: logits [n, classes], or one logit or value a row, [n] or
    [n, 1]. Raises StageFailure(ModelCorrupt)."""
    if output.ndim == 2 and output.shape[1] == 1:
        output = output[:, 0]
    if np.isnan(output).any() or (classes is None and np.isinf(output).any()):
        raise StageFailure("ModelCorrupt", f"{path} predicts NaN or infinity")
    if classes is None:
        if output.ndim == 1:
            return Batch(truth, output)
        raise _wrong_shape(path, output, "[n] or [n, 1] values")
    size = len(classes)
    if output.ndim == 1 and size == 2:
        # The logit of the second class against the first.
        output = np.stack([np.zeros_like(output), output], axis=1)
    if output.ndim != 2 or output.shape[1] != size:
        one = ", or [n] or [n, 1] of the second class" if size == 2 else ""
        raise _wrong_shape(path, output, f"[n, {size}] logits{one}")
    return Batch(truth, output.argmax(axis=1), _softmax(output))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Rows to probabilities; infinite logits share the probability of their row."""
    logits = np.clip(logits, -1e300, 1e300)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _wrong_shape(path: Path, output: np.ndarray, expected: str) -> StageFailure:
    came = ", ".join(["n", *map(str, output.shape[1:])])
    return StageFailure("ModelCorrupt", f"{path} gives [{came}], expected {expected}")
