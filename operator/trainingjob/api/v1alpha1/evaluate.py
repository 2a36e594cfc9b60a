"""Stage 3: metrics on held-out data, and gates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .code import OWN, PROGRAM_RULES, OwnProgram
from .patterns import METRIC
from .resources import Resources

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
_OfOurs = Literal[ClassificationMetric, RegressionMetric, LanguageModelMetric]
# One of ours, or of own code's.
MetricName = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=METRIC)]
CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
LANGUAGE_MODEL_METRICS: tuple[str, ...] = get_args(LanguageModelMetric)
METRICS: tuple[str, ...] = get_args(_OfOurs)
# Of two classes: about the positive one, task.positiveClass.
BINARY_METRICS: tuple[str, ...] = ("precision", "recall", "f1", "average_precision")
# Errors: the lower, the better. Of all others more is better.
LOWER_IS_BETTER: frozenset[str] = frozenset(
    {"log_loss", "mae", "rmse", "mape", "perplexity", "bits_per_byte", "loss"}
)
# Parts of a whole.
AT_MOST_ONE: frozenset[str] = frozenset(
    {*CLASSIFICATION_METRICS, "r2", "token_accuracy"} - LOWER_IS_BETTER
)

# Of own code's, what a pod's result and status have room for.
MOST_METRICS, _MOST_GATES = 12, 8
_KNOWN = f"[{', '.join(map(repr, METRICS))}]"

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
        Rule(
            cel="has(self.higherIsBetter) == "
            f"(has(self.noWorseThan) && !(self.metric in {_KNOWN}))",
            message="higherIsBetter is needed where noWorseThan compares a metric of own code, and "
            "nowhere else: it is known of the others, and min and max do without",
            holds=lambda self: (
                (self.higher_is_better is not None)
                == (self.no_worse_than is not None and self.metric not in METRICS)
            ),
        ),
    )

    metric: MetricName = Field(
        description="A metric; it is computed even when not listed. Of own code, one that it "
        "writes."
    )
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
    higher_is_better: bool | None = Field(
        None, description="Of a metric of own code: which of two values `noWorseThan` prefers."
    )

    @property
    def lower_is_better(self) -> bool:
        """Of two values."""
        return self.higher_is_better is False or self.metric in LOWER_IS_BETTER


def _cel(names: Iterable[str]) -> str:
    return f"[{', '.join(map(repr, sorted(names)))}]"


# CEL, of a gate g.
CEL_IN_REACH = (
    f"(!has(g.min) || g.min <= 1.0 || !(g.metric in {_cel(AT_MOST_ONE)})) && "
    f"(!has(g.max) || g.max >= 0.0 || !(g.metric in {_cel(LOWER_IS_BETTER)}))"
)


def _is_percent(gate: Gate) -> bool:
    """Whether its ``min`` was meant as such."""
    return gate.metric != "r2" and gate.min is not None and 2 <= gate.min <= 100


def out_of_reach(gates: Sequence[Gate]) -> list[str]:
    """What no model passes, by metrics of ours: accuracy in percent, an error below 0."""
    above = [
        f"{gate.metric} is at most 1"
        + (f": write {gate.min / 100:g} for {gate.min:g} %" if _is_percent(gate) else "")
        for gate in gates
        if gate.metric in AT_MOST_ONE and gate.min is not None and gate.min > 1
    ]
    return above + [
        f"{gate.metric} is never below 0"
        for gate in gates
        if gate.metric in LOWER_IS_BETTER and gate.max is not None and gate.max < 0
    ]


class Evaluate(OwnProgram):
    """Judge the model on the test split. Own code runs once instead of our metrics, and writes
    `$TRAININGJOB_OUTPUT_DIR/metrics.json`: numbers by name."""

    resumable: ClassVar[tuple[str, ...]] = ("template",)
    rules: ClassVar[tuple[Rule, ...]] = (
        *PROGRAM_RULES,
        Rule(
            cel=f"!{OWN} || !(has(self.threshold) || has(self.nodes) || has(self.procsPerNode))",
            message="threshold, nodes and procsPerNode are about the metrics of ours: own code "
            "runs once and reckons itself",
            holds=lambda self: (
                not self.own_code
                or (self.threshold, self.nodes, self.procs_per_node) == (None, None, None)
            ),
        ),
        Rule(
            cel=f"!{OWN} || ((!has(self.metrics) || self.metrics.size() <= {MOST_METRICS}) && "
            f"(!has(self.gates) || self.gates.size() <= {_MOST_GATES}))",
            message=f"of own code, status has room for {MOST_METRICS} metrics and {_MOST_GATES} "
            "gates: evaluation/metrics.json has all that the code writes",
            holds=lambda self: (
                not self.own_code
                or (
                    len(self.metrics or ()) <= MOST_METRICS and len(self.gates or ()) <= _MOST_GATES
                )
            ),
        ),
    )

    metrics: Annotated[list[MetricName], Field(max_length=21)] | None = Field(
        None,
        description="Metrics for status; accuracy and f1_macro, rmse and r2, or perplexity and "
        "bits_per_byte, when unset, and of own code the first ones that it writes. "
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
    resources: Resources | None = Field(None, description="Resources of each pod.")
