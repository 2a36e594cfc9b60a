"""Gates: whether the metrics are good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...api.v1alpha1 import Gate
from ...api.v1alpha1.status import JudgedMetric


def judge(metrics: Mapping[str, float], gates: Sequence[Gate]) -> list[JudgedMetric]:
    """Each metric with the verdict of its gates; several gates of one metric are one gate.

    Raises KeyError when a gate's metric has no value.
    """
    judged = {name: JudgedMetric(name=name, value=value) for name, value in metrics.items()}
    for gate in gates:
        before = judged[gate.metric]
        lows = [bound for bound in (before.min, gate.min) if bound is not None]
        highs = [bound for bound in (before.max, gate.max) if bound is not None]
        low, high = max(lows, default=None), min(highs, default=None)
        passed = (low is None or before.value >= low) and (high is None or before.value <= high)
        judged[gate.metric] = before.model_copy(update={"min": low, "max": high, "passed": passed})
    return list(judged.values())


def in_words(metric: JudgedMetric) -> str:
    """Why a metric did not pass: ``accuracy 0.87 is below 0.9``."""
    if metric.min is not None and metric.value < metric.min:
        return f"{metric.name} {metric.value:.4g} is below {metric.min:g}"
    return f"{metric.name} {metric.value:.4g} is above {metric.max:g}"
