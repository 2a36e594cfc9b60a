"""Whether the model is accepted: the metrics against the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ....api import gates
from ....api.v1alpha1 import Evaluation, StageStatus, TrainingJob
from ... import names
from ..outcome import StageOutcome, failed_for_good


def judged(
    job: TrainingJob, outcome: StageOutcome, before: Sequence[StageStatus], now: datetime
) -> StageOutcome:
    """The stage, which has just ended with a result, after its gates and the stages ``before``."""
    stage, result = outcome.stage, outcome.result
    if result is None:
        return outcome
    dataset = names.dataset_uri(job)
    made = next((s for s in before if s.outputs and s.outputs.uri == dataset), None)
    left = made.outputs.digest if made and made.outputs else ""
    read = result.dataset_digest or ""
    if made and left and read and left != read:
        what = f"it was judged on a dataset of digest {read}; {made.name} left one of {left}"
        return failed_for_good(stage, "DatasetInvalid", what, now)
    limits = gates.of(job)
    values = {metric.name: metric.value for metric in result.metrics or ()}
    missing = [gate.metric for gate in limits if gate.metric not in values]
    if missing:
        what = f"the evaluation has no {missing[0]}"
        return failed_for_good(stage, "ResultInvalid", what, now)
    baseline = result.baseline
    metrics = gates.judge(values, limits, baseline.metrics if baseline else {})
    of_folds = {
        metric.name: {"deviation": metric.deviation, "test": metric.test}
        for metric in result.metrics or ()
    }
    metrics = [metric.model_copy(update=of_folds[metric.name]) for metric in metrics]
    accepted = gates.accepts(metrics)
    evaluation = Evaluation(
        metrics=metrics,
        samples=result.samples or 0,
        passed=accepted,
        model_uri=names.model_uri(job),
        model_digest=result.model_digest or "",
        dataset_digest=result.dataset_digest or "",
    )
    if accepted:
        return replace(outcome, evaluation=evaluation)
    other = baseline is not None and baseline.dataset_digest != evaluation.dataset_digest
    what = ", ".join(
        gates.in_words(metric, limits, other_data=other)
        for metric in metrics
        if metric.passed is False
    )
    return failed_for_good(stage, "GateFailed", what, now, evaluation)
