"""Whether the model is accepted: the metrics against the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ....api import gates
from ....api.payload import StageResult
from ....api.v1alpha1 import Evaluation, StageStatus, TrainingJob
from ....api.v1alpha1.reasons import ReasonName
from ... import accepted, names
from ..outcome import StageOutcome, failed_for_good


def judged(
    job: TrainingJob, outcome: StageOutcome, before: Sequence[StageStatus], now: datetime
) -> StageOutcome:
    """The stage, which has just ended with a result, after its gates and the stages ``before``."""
    stage, result = outcome.stage, outcome.result
    if result is None:
        return outcome
    other = _other(job, result, before)
    if other is not None:
        return failed_for_good(stage, *other, now)
    limits = gates.of(job)
    values = {metric.name: metric.value for metric in result.metrics or ()}
    missing = [gate.metric for gate in limits if gate.metric not in values]
    if missing:
        what = f"the evaluation has no {missing[0]}"
        return failed_for_good(stage, "ResultInvalid", what, now)
    baseline = gates.held_to(result.baseline, accepted.baseline(job))
    metrics = gates.judge(values, limits, baseline.metrics if baseline else {})
    of_folds = {
        metric.name: {"deviation": metric.deviation, "test": metric.test}
        for metric in result.metrics or ()
    }
    metrics = [metric.model_copy(update=of_folds[metric.name]) for metric in metrics]
    passed = gates.accepts(metrics)
    evaluation = Evaluation(
        metrics=metrics,
        variants=result.variants,
        samples=result.samples or 0,
        passed=passed,
        model_uri=names.model_uri(job),
        model_digest=result.model_digest or "",
        dataset_digest=result.dataset_digest or "",
    )
    if passed:
        return replace(outcome, evaluation=evaluation)
    on_other = baseline is not None and baseline.dataset_digest != evaluation.dataset_digest
    what = ", ".join(
        gates.in_words(metric, limits, other_data=on_other)
        for metric in metrics
        if metric.passed is False
    )
    return failed_for_good(stage, "GateFailed", what, now, evaluation)


def _other(
    job: TrainingJob, result: StageResult, before: Sequence[StageStatus]
) -> tuple[ReasonName, str] | None:
    """Why the verdict is about something else than the stages before have left."""
    by_place = {stage.outputs.uri: stage for stage in before if stage.outputs}
    judged: tuple[tuple[ReasonName, str, str, str | None], ...] = (
        ("DatasetInvalid", "on a dataset", names.dataset_uri(job), result.dataset_digest),
        ("ModelCorrupt", "by a model", names.model_uri(job), result.model_digest),
    )
    for reason, words, uri, read in judged:
        made = by_place.get(uri)
        left = made.outputs.digest if made is not None and made.outputs else ""
        if made is not None and left and read and left != read:
            return reason, f"it was judged {words} of digest {read}; {made.name} left one of {left}"
    return None
