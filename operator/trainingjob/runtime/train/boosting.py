"""The process that learns trees: ``python -m trainingjob.runtime.train.boosting``.

scikit-learn wants all rows in memory. It goes on from the trees that it has (``warm_start``), which
gives the same ones as in one go, so that it can tell how far it is; what is stopped begins anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainingjob.api.payload import STAGE_PAYLOAD, StageResult, TrainPayload
from trainingjob.api.v1alpha1.boosting import GradientBoosting
from trainingjob.api.v1alpha1.reported import Outputs

from ..base.errors import StageFailure, of_fold, storage_errors
from ..base.log import log
from ..base.progress import Reporter
from ..base.text import listed, one_line
from ..dataset import suitable
from ..dataset.columns import Encoding
from ..dataset.manifest import DatasetManifest
from ..dataset.moments import Moments
from ..dataset.rows import Rows
from ..gang import ranks
from ..model.config import ModelConfig
from ..model.target import Target
from ..model.trees import Trees, save_trees
from ..storage import resolve
from ..storage.ownership import claim
from .parts import Part, Stretch, parts_of, publish
from .search import Search, Trial, Tried, of_trial
from .weights import Weights

_ITERATIONS, _MOST_CATEGORIES = 100, 255
_ROWS = 16384
# Between two reports: each costs a look at all rows. As many trees at first, then more.
_STRETCH_SECONDS, _STRETCH = 5.0, 10


@dataclass(frozen=True)
class Table:
    """A split: features float64 [n, d], what is learned [n], weights [n] or None."""

    features: np.ndarray
    target: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True)
class Learned:
    """``losses`` and ``validation``: before the first iteration, and after each."""

    trees: Trees
    losses: Sequence[float]
    validation: Sequence[float] | None


class Lesson:
    """What is learned from a dataset. Raises StageFailure: DatasetInvalid, SplitEmpty,
    SettingUnsuitable, LabelInvalid, FeatureNotNumeric, and those of weights."""

    def __init__(self, payload: TrainPayload) -> None:
        folder = resolve(payload.dataset)
        manifest = DatasetManifest.read(folder)
        names = suitable.learnable(manifest, payload.task, payload.sample_weight, texts=True)
        self._payload = payload
        assert payload.model is not None and payload.task.type != "languageModel"
        self.spec = payload.model.gradient_boosting or GradientBoosting()
        self.training, self.validation = (
            Rows(folder, manifest, name, names) for name in ("train", "validation")
        )
        if not self.training.count:
            raise StageFailure("SplitEmpty", "the dataset's train split is empty")
        self.weights = Weights.of_split(self.training, payload.class_weights, payload.sample_weight)
        most = self.spec.max_bins or _MOST_CATEGORIES
        texts = [name for name in names if manifest.columns[name] == "string"]
        categories = _categories(self.training, texts, most)
        self.encoding = Encoding(np.float64, categories)
        self.target = _target_of(payload, self.training)
        self.config = ModelConfig(
            task=payload.task.type,
            label=manifest.label,
            features=names,
            classes=manifest.classes,
            gradient_boosting=self.spec,
            categories=categories,
            target_mean=self.target.mean,
            target_std=self.target.std,
            target_transform=self.target.transform,
            sample_weight=payload.sample_weight,
            dataset_digest=manifest.digest,
            pipeline=manifest.pipeline,
        )

    def table(self, rows: Rows, weights: Weights | None = None) -> Table:
        """All of a split. Raises StageFailure: DatasetInvalid, WeightInvalid."""
        names = self.config.features
        features = np.empty((rows.count, len(names)))
        target = np.empty(rows.count)
        counts = None if weights is None else np.empty(rows.count)
        at = 0
        columns = [*names, rows.manifest.label, *(weights.columns if weights else ())]
        for path, batch in rows.batches(columns, _ROWS):
            part = slice(at, at + batch.num_rows)
            truth = rows.truth(path, batch)
            rows.fill(path, batch, names, features[part], self.encoding)
            if weights is not None and counts is not None:
                counts[part] = weights.of(path, batch, truth)
            if rows.classes is None:
                truth = self.target.learned(rows.manifest.label, truth)
            target[part] = truth
            at = part.stop
        return Table(features, target, counts)

    def learn(self, told: Callable[[int, dict[str, float]], None]) -> Learned:
        """``told`` how many iterations are done, and the losses then."""
        train = self.table(self.training, self.weights)
        classes = self.training.classes
        present = np.unique(train.target)
        if classes is not None and len(present) < len(classes):
            absent = [str(classes.values[i]) for i in range(len(classes)) if i not in present]
            raise StageFailure(
                "SettingUnsuitable",
                f"model.gradientBoosting learns each class from its rows, and the train split has "
                f"none of {listed(absent)}; set preprocess.split.stratify, or split.rare: drop",
            )
        stopping, iterations = self._payload.early_stopping, self.spec.iterations or _ITERATIONS
        given: dict[str, Any] = {}
        if self.validation.count:
            judged = self.table(self.validation)
            given = {"X_val": judged.features, "y_val": judged.target}
        model = self._estimator()
        size, done = _STRETCH, 0
        while done < iterations:
            began = time.monotonic()
            goal = min(iterations, done + size)
            model.set_params(max_iter=goal)
            model.fit(train.features, train.target, sample_weight=train.weights, **given)
            done = model.n_iter_
            losses = self._losses(model)
            told(done, {name: values[-1] for name, values in losses.items()})
            # Or just where the stretch ends: it would go on by another tree.
            if done < goal or model._should_stop(model.validation_score_):
                break
            if time.monotonic() - began < _STRETCH_SECONDS:
                size *= 2
        validation = losses.get("validation_loss")
        keep = done if stopping is None or validation is None else int(np.argmin(validation))
        return Learned(self._trees(model, keep), losses["loss"], validation)

    def _estimator(self) -> Any:
        from sklearn import ensemble

        spec, stopping = self.spec, self._payload.early_stopping
        is_regression = self.config.task == "regression"
        make = (
            ensemble.HistGradientBoostingRegressor
            if is_regression
            else ensemble.HistGradientBoostingClassifier
        )
        texts = [name in (self.config.categories or {}) for name in self.config.features]
        iterations = spec.iterations or _ITERATIONS
        return make(
            learning_rate=spec.learning_rate or 0.1,
            max_leaf_nodes=spec.max_leaves or 31,
            max_depth=spec.max_depth,
            min_samples_leaf=spec.min_samples_leaf or 20,
            l2_regularization=spec.l2 or 0.0,
            max_features=spec.max_features or 1.0,
            max_bins=spec.max_bins or 255,
            categorical_features=texts if any(texts) else None,
            # So that losses are told; without a rule nothing stops.
            early_stopping=True,
            validation_fraction=None,
            n_iter_no_change=iterations + 1 if stopping is None else stopping.patience,
            tol=0.0 if stopping is None else stopping.min_delta / self._scale,
            random_state=self._payload.seed,
            warm_start=True,
        )

    @property
    def _scale(self) -> float:
        """From scikit-learn's half of the squared error to that in the label's own unit."""
        return 2.0 * self.target.std**2 if self.config.task == "regression" else 1.0

    def _losses(self, model: Any) -> dict[str, list[float]]:
        """Before the first iteration and after each, in the label's own unit."""
        scores = {"loss": model.train_score_, "validation_loss": model.validation_score_}
        return {
            name: [-float(one) * self._scale for one in its]
            for name, its in scores.items()
            if len(its)
        }

    def _trees(self, model: Any, keep: int) -> Trees:
        """With the features in our order: scikit-learn puts categories first."""
        names, categories = self.config.features, self.config.categories or {}
        texts = [at for at, name in enumerate(names) if name in categories]
        order = np.array([*texts, *(at for at in range(len(names)) if at not in set(texts))])
        predictors = model._predictors[:keep]
        for trees in predictors:
            for tree in trees:
                inner = tree.nodes["is_leaf"] == 0
                tree.nodes["feature_idx"][inner] = order[tree.nodes["feature_idx"][inner]]
        return Trees(self.config, predictors, model._baseline_prediction[0])


def _categories(rows: Rows, texts: Sequence[str], most: int) -> dict[str, list[str]]:
    """The values of each of the columns. Raises StageFailure(FeatureNotNumeric)."""
    found: dict[str, set[str]] = {name: set() for name in texts}
    if not texts:
        return {}
    for _, batch in rows.batches(texts, _ROWS):
        for name in texts:
            found[name].update(pc.unique(batch.column(name)).drop_null().to_pylist())
            if len(found[name]) > most:
                raise StageFailure(
                    "FeatureNotNumeric",
                    f"feature {name} is text with more than {most} different values, and "
                    f"model.gradientBoosting takes at most {most} categories: encode it by a step "
                    "(groupRare, targetEncode, hashEncode), or leave it out of task.features",
                )
    return {name: sorted(values) for name, values in found.items()}


def _target_of(payload: TrainPayload, rows: Rows) -> Target:
    """The label itself, unless the manifest asks for something else of it.

    Raises StageFailure(SettingUnsuitable) for labels that the transform does not take."""
    asked = payload.target_transform
    if payload.task.type != "regression" or asked is None:
        return Target()
    target = Target("log1p" if asked == "log1p" else None)
    moments = Moments()
    for truth in rows.truths():
        moments.add(target.learned(rows.manifest.label, truth))
    return Target(target.transform, moments.mean, moments.deviation or 1.0)


def work(payload: TrainPayload) -> StageResult | None:
    """Learn each part's trees, or those of each trial, and write the model."""
    pa.set_cpu_count(int(os.environ["OMP_NUM_THREADS"]))
    with closing(Reporter()) as reporter:
        return (_trained if payload.search is None else _searched)(payload, reporter)


def _trained(payload: TrainPayload, reporter: Reporter) -> StageResult | None:
    parts, result = parts_of(payload), None
    if len(parts) > 1:
        with storage_errors("read the checkpoints"):
            claim(resolve(payload.checkpoints), payload.job.uid)
    for number, part in enumerate(parts):
        if part.is_done():
            log(f"{part.words}was trained before")
            continue
        with of_fold(part.fold):
            stretch = Stretch(number, len(parts), part.fold, part.words)
            result = _save(part, parts, *_learn(part.payload, stretch, reporter))
    return result


def _searched(payload: TrainPayload, reporter: Reporter) -> StageResult:
    assert payload.search is not None
    search = Search(payload)
    for number in range(1, payload.search.trials + 1):
        told = search.ask(number)
        if told is not None:
            with of_trial(number, told["settings"]):
                tried = _try(payload, told, reporter)
            search.tell(number, told["settings"], tried)
    return search.result()


def _try(payload: TrainPayload, told: dict[str, Any], reporter: Reporter) -> Tried:
    try:
        trial = Trial.of(payload, told)
    except ValueError as error:
        return Tried("failed", message=one_line(error))
    stretch = Stretch(trial.number - 1, trial.trials, None, trial.words)
    lesson, learned = _learn(trial.payload, stretch, reporter)
    assert learned.validation is not None  # beforehand.py
    loss = learned.validation[len(learned.trees.predictors)]
    best = trial.is_best(loss)
    result = _save(Part(trial.payload), (), lesson, learned) if best else None
    return Tried("complete", [loss], loss, result)


def _learn(payload: TrainPayload, stretch: Stretch, reporter: Reporter) -> tuple[Lesson, Learned]:
    """``stretch`` counts models, not steps."""
    lesson = Lesson(payload)
    rows, iterations = lesson.training.count, lesson.spec.iterations or _ITERATIONS
    log(f"{stretch.words}learning trees from {rows} rows, {len(lesson.config.features)} features")

    def told(done: int, losses: dict[str, float]) -> None:
        words = "".join(f" {name} {value:.6g}" for name, value in losses.items())
        log(f"{stretch.words}iteration {done}/{iterations}{words}")
        metrics = {"step": done, "total_steps": iterations, **losses}
        if stretch.fold is not None:
            metrics["fold"] = stretch.fold
        if reporter.due():
            share = (stretch.begins + done / iterations) / (stretch.total or 1)
            reporter.report(share, metrics)

    return lesson, lesson.learn(told)


def _save(part: Part, parts: Sequence[Part], lesson: Lesson, learned: Learned) -> StageResult:
    payload, kept = part.payload, len(learned.trees.predictors)
    digest = publish(part, parts, lambda to: save_trees(to, learned.trees), _history(learned))
    classes = lesson.config.classes
    return StageResult(
        outputs=Outputs(
            uri=payload.model_uri,
            digest=digest,
            steps=kept,
            loss=learned.losses[kept],
            validation_loss=learned.validation[kept] if learned.validation else None,
            device="cpu",
            features=len(lesson.config.features),
            classes=len(classes) if classes else None,
        )
    )


def _history(learned: Learned) -> list[dict[str, float | int | None]]:
    validation: Sequence[float | None] = learned.validation or [None] * len(learned.losses)
    return [
        {"iteration": number, "loss": loss, "validation_loss": its}
        for number, (loss, its) in enumerate(zip(learned.losses, validation, strict=True))
    ]


def main() -> int:
    """Train as the payload in the environment says; 0 when all is done and told."""
    payload = TrainPayload.model_validate_json(os.environ[STAGE_PAYLOAD])
    return ranks.told(lambda: work(payload), "train")


if __name__ == "__main__":
    ranks.end(main())
