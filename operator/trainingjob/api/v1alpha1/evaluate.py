"""Stage 3: metrics on held-out data, and gates."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from ..base import Model, Rule
from .common import ENV_FROM, Env, EnvFroms, Image, PodTemplate, Resources

ClassificationMetric = Literal[
    "accuracy",
    "balanced_accuracy",
    "precision_micro",
    "precision_macro",
    "precision_weighted",
    "recall_micro",
    "recall_macro",
    "recall_weighted",
    "f1_micro",
    "f1_macro",
    "f1_weighted",
    "roc_auc",
    "log_loss",
    "precision",
    "recall",
    "f1",
    "average_precision",
]
RegressionMetric = Literal["mae", "rmse", "r2", "mape"]
LanguageModelMetric = Literal["perplexity", "bits_per_byte", "loss", "token_accuracy"]
MetricName = Literal[ClassificationMetric, RegressionMetric, LanguageModelMetric]
CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
LANGUAGE_MODEL_METRICS: tuple[str, ...] = get_args(LanguageModelMetric)
METRICS: tuple[str, ...] = get_args(MetricName)
# Of two classes: about the positive one, task.positiveClass.
BINARY_METRICS: tuple[str, ...] = ("precision", "recall", "f1", "average_precision")
# Errors: the lower, the better. Of all others more is better.
LOWER_IS_BETTER: frozenset[MetricName] = frozenset(
    {"log_loss", "mae", "rmse", "mape", "perplexity", "bits_per_byte", "loss"}
)

Bound = Annotated[float, Field(ge=-1e15, le=1e15)]
Tolerance = Annotated[float, Field(ge=0, le=1e15)]


class Gate(Model):
    """A bound that the model must keep to be accepted."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.min) || has(self.max) || has(self.noWorseThan)",
            message="a gate needs min, max or noWorseThan",
            holds=lambda self: (
                self.min is not None or self.max is not None or self.no_worse_than is not None
            ),
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="min must not be above max",
            holds=lambda self: self.min is None or self.max is None or self.min <= self.max,
        ),
        Rule(
            cel="!has(self.tolerance) || has(self.noWorseThan)",
            message="tolerance needs noWorseThan",
            holds=lambda self: self.tolerance is None or self.no_worse_than is not None,
        ),
    )

    metric: MetricName = Field(description="A metric; it is computed even when not listed.")
    min: Bound | None = Field(None, description="Lowest value that passes.")
    max: Bound | None = Field(None, description="Highest value that passes.")
    no_worse_than: Literal["lastAccepted"] | None = Field(
        None,
        description="Compare with the last accepted model: the last one of a job of this name, in "
        "this storage, that passed all of its gates. While there is none, or none with this "
        "metric, the comparison passes.",
    )
    tolerance: Tolerance | None = Field(
        None,
        description="By how much the metric may be worse than that model's, as a difference of the "
        "two values; 0 when unset.",
    )


class Evaluate(Model):
    """Judge the model on the test split."""

    resumable: ClassVar[tuple[str, ...]] = ("template",)
    metrics: Annotated[list[MetricName], Field(max_length=21)] | None = Field(
        None,
        description="Metrics for status; accuracy and f1_macro, rmse and r2, or perplexity and "
        "bits_per_byte, when unset. "
        "`evaluation/metrics.json` has them all.",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Two classes: a row is taken for `task.positiveClass` when the score of that "
        "class is at least this, whatever `y_pred` says; when unset, for the class with the higher "
        "score, or `y_pred`.",
    )
    gates: Annotated[list[Gate], Field(max_length=32)] | None = Field(
        None, description="All must pass, or the job ends as Failed with reason GateFailed."
    )
    nodes: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Language models: pods that judge together; 1 when unset.",
    )
    procs_per_node: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Processes in each, usually one per GPU; 1 when unset."
    )
    sealed: bool | None = Field(
        None,
        description="Whether the test split is encrypted by a key that pods of preprocess and "
        "evaluate get from the operator, and those of train do not. The model must be one that "
        "evaluation runs: `predictions.parquet` is refused. docs/security.md tells what it proves. "
        "Unset: no.",
    )
    image: Image | None = Field(None, description="Container image; the operator's when unset.")
    resources: Resources | None = Field(None, description="Resources of each pod.")
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: PodTemplate | None = Field(None, description="Parts of the pods.")
