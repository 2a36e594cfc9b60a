"""What a type of task has: its metrics, and what is for some types alone."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ...base import Rule
from ..evaluate import (
    CEL_IN_REACH,
    CLASSIFICATION_METRICS,
    LANGUAGE_MODEL_METRICS,
    REGRESSION_METRICS,
    out_of_reach,
)
from .cel import LABEL, OWN_JUDGE, trained

if TYPE_CHECKING:
    from ..job import Spec


def _metrics_of(spec: Spec) -> set[str]:
    evaluate = spec.evaluate
    if evaluate is None:
        return set()
    return {*(evaluate.metrics or ()), *(gate.metric for gate in evaluate.gates or ())}


def _cel_metrics(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        f"(!has(self.evaluate.metrics) || self.evaluate.metrics.all(m, m in [{listed}])) && "
        f"(!has(self.evaluate.gates) || self.evaluate.gates.all(g, g.metric in [{listed}]))"
    )


def _judged_by(task: str, metrics: Sequence[str]) -> Rule:
    """Which metrics a type of task has."""
    article = "a " if task == "languageModel" else ""
    return trained(
        cel=f"!has(self.evaluate) || self.task.type != '{task}' || {OWN_JUDGE} || "
        f"({_cel_metrics(metrics)})",
        message=f"{article}{task} is judged by {', '.join(metrics)}; own code (evaluate.script, "
        "code, command) by what it writes",
        holds=lambda self: (
            self.task.type != task or self.judges_itself or _metrics_of(self) <= set(metrics)
        ),
        about=lambda self: _not_among(sorted(_metrics_of(self) - {*metrics}), metrics),
    )


def _not_among(names: Sequence[str], metrics: Sequence[str]) -> str:
    by_letters = {name.replace("_", ""): name for name in metrics}
    near = (
        get_close_matches(name.replace("-", "").replace("_", "").lower(), by_letters, 1)
        for name in names
    )
    meant = ", ".join(by_letters[found[0]] for found in near if found)
    return f"; not by {', '.join(names)}" + (f", did you mean {meant}?" if meant else "")


def _beyond(spec: Spec) -> list[str]:
    gates = spec.evaluate.gates if spec.evaluate is not None and not spec.judges_itself else None
    return out_of_reach(gates or ())


RULES: tuple[Rule, ...] = (
    _judged_by("languageModel", LANGUAGE_MODEL_METRICS),
    trained(
        cel=f"!has(self.evaluate) || {OWN_JUDGE} || !has(self.evaluate.gates) || "
        f"self.evaluate.gates.all(g, {CEL_IN_REACH})",
        message="a gate of evaluate.gates asks for what no model can reach",
        holds=lambda self: not _beyond(self),
        about=lambda self: f": {', '.join(_beyond(self))}",
    ),
    trained(
        cel=f"!has(self.evaluate) || !has(self.task.messages) || {OWN_JUDGE} || "
        "((!has(self.evaluate.metrics) || !('bits_per_byte' in self.evaluate.metrics)) && "
        "(!has(self.evaluate.gates) || "
        "!self.evaluate.gates.exists(g, g.metric == 'bits_per_byte')))",
        message="bits_per_byte needs task.text: of messages, only the answers count",
        holds=lambda self: (
            self.task.messages is None
            or self.judges_itself
            or "bits_per_byte" not in _metrics_of(self)
        ),
    ),
    trained(
        cel="!has(self.train.sampleWeight) || self.task.type != 'languageModel'",
        message="train.sampleWeight needs task.type classification or regression",
        holds=lambda self: self.train.sample_weight is None or self.task.type != "languageModel",
    ),
    trained(
        cel="!has(self.evaluate) || self.task.type == 'languageModel' || "
        "(!has(self.evaluate.nodes) && !has(self.evaluate.procsPerNode))",
        message="evaluate.nodes and procsPerNode need task.type languageModel: other models "
        "are judged by one process",
        holds=lambda self: (
            self.evaluate is None
            or self.task.type == "languageModel"
            or (self.evaluate.nodes or self.evaluate.procs_per_node) is None
        ),
    ),
    _judged_by("classification", CLASSIFICATION_METRICS),
    _judged_by("regression", REGRESSION_METRICS),
    trained(
        cel="!has(self.evaluate) || !has(self.evaluate.threshold) "
        "|| self.task.type == 'classification'",
        message="evaluate.threshold needs task.type classification",
        holds=lambda self: (
            self.evaluate is None
            or self.evaluate.threshold is None
            or self.task.type == "classification"
        ),
    ),
    trained(
        cel="!has(self.train.targetTransform) || self.task.type == 'regression'",
        message="train.targetTransform needs task.type regression",
        holds=lambda self: self.train.target_transform is None or self.task.type == "regression",
    ),
    trained(
        cel=None,
        message="train.classWeights needs task.type classification",
        holds=lambda self: self.train.class_weights is None or self.task.type == "classification",
        schema={
            "anyOf": [
                {"properties": {"task": {"properties": {"type": {"enum": ["classification"]}}}}},
                {"properties": {"train": {"not": {"required": ["classWeights"]}}}},
            ]
        },
    ),
    trained(
        cel=f"!has(self.train.sampleWeight) || (self.train.sampleWeight != {LABEL} && "
        "(!has(self.task.features) || "
        "!self.task.features.exists(f, f == self.train.sampleWeight)))",
        message="train.sampleWeight must be neither the label nor one of the features",
        holds=lambda self: (
            self.train.sample_weight is None
            or self.train.sample_weight not in (self.task.label, *(self.task.features or ()))
        ),
    ),
)
