"""Gates: whether the metrics are good enough.

The pod, which keeps a record of what was accepted, and the operator judge by this alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from .payload import Baseline
from .v1alpha1 import Gate, TrainingJob
from .v1alpha1.status import JudgedMetric


def judge(
    metrics: Mapping[str, float], gates: Sequence[Gate], baseline: Mapping[str, float]
) -> list[JudgedMetric]:
    """Each metric with the verdict of its gates; several gates of one metric are one gate.

    ``baseline``: the metrics of the last accepted model; what it lacks is not compared.
    Raises KeyError when a gate's metric has no value.
    """
    judged = {name: JudgedMetric(name=name, value=value) for name, value in metrics.items()}
    for gate in gates:
        before = judged[gate.metric]
        past = baseline.get(gate.metric) if gate.no_worse_than else None
        limits = _limits(gate, past)
        lows = [bound for bound in (before.min, gate.min, limits[0]) if bound is not None]
        highs = [bound for bound in (before.max, gate.max, limits[1]) if bound is not None]
        low, high = max(lows, default=None), min(highs, default=None)
        passed = (low is None or before.value >= low) and (high is None or before.value <= high)
        update = {"min": low, "max": high, "passed": passed}
        if past is not None:
            update["baseline"] = past
        judged[gate.metric] = before.model_copy(update=update)
    return list(judged.values())


def of(job: TrainingJob) -> Sequence[Gate]:
    """A job's gates."""
    spec = job.spec.evaluate
    return (spec.gates if spec else None) or ()


def accepts(judged: Sequence[JudgedMetric]) -> bool:
    """Whether all gates passed; without gates they have."""
    return all(metric.passed is not False for metric in judged)


def compared(gates: Sequence[Gate]) -> list[str]:
    """The metrics that gates compare with the last accepted model's."""
    return list(dict.fromkeys(gate.metric for gate in gates if gate.no_worse_than))


def uncompared(judged: Sequence[JudgedMetric], gates: Sequence[Gate]) -> list[str]:
    """Those of them for which there was nothing to compare with."""
    known = {metric.name for metric in judged if metric.baseline is not None}
    return [name for name in compared(gates) if name not in known]


def held_to(record: Baseline | None, told: Baseline | None) -> Baseline | None:
    """What is compared with: of the ``record`` on the storage, which whoever has the storage can
    write, no more than status has not ``told``."""
    if told is None:
        return record
    on_record = record.metrics if record is not None else {}
    return told.model_copy(update={"metrics": on_record | told.metrics})


def in_words(metric: JudgedMetric, gates: Sequence[Gate], *, other_data: bool = False) -> str:
    """Why a metric did not pass: ``accuracy 0.87 is below 0.9``.

    ``other_data``: the last accepted model was judged on other test data.
    """
    ours = [gate for gate in gates if gate.metric == metric.name]
    low = max((gate.min for gate in ours if gate.min is not None), default=-math.inf)
    high = min((gate.max for gate in ours if gate.max is not None), default=math.inf)
    value, faults = f"{metric.value:.4g}", []
    if metric.value < low:
        faults.append(f"below {low:g}")
    if metric.value > high:
        faults.append(f"above {high:g}")
    tolerances = [gate.tolerance or 0.0 for gate in ours if gate.no_worse_than]
    if metric.baseline is not None and tolerances:
        lower = any(gate.lower_is_better for gate in ours)
        bound = _limit(metric.baseline, min(tolerances), lower=lower)
        worse = metric.value > bound if lower else metric.value < bound
        if worse:
            digits = _digits(metric.value, bound)
            value = f"{metric.value:.{digits}g}"
            where = " on other test data" if other_data else ""
            most = f" by more than {min(tolerances):g}" if min(tolerances) else ""
            faults.append(
                f"worse than {metric.baseline:.{digits}g} of the last accepted model{where}{most}"
            )
    if metric.deviation is not None:
        value += f" ± {metric.deviation:.2g} over the folds"
    return f"{metric.name} {value} is {' and '.join(faults)}"


def _limits(gate: Gate, baseline: float | None) -> tuple[float | None, float | None]:
    """Lowest and highest value that is no worse than the baseline by more than the tolerance."""
    if baseline is None:
        return None, None
    lower = gate.lower_is_better
    limit = _limit(baseline, gate.tolerance or 0.0, lower=lower)
    return (None, limit) if lower else (limit, None)


def _limit(baseline: float, tolerance: float, *, lower: bool) -> float:
    """In decimals, as people reckon: in binary, 0.7 is worse than 0.8 by more than 0.1."""
    past, most = Decimal(repr(baseline)), Decimal(repr(tolerance))
    return float(past + most if lower else past - most)


def _digits(one: float, other: float) -> int:
    """In how many digits two numbers differ; at least 4."""
    return next((n for n in range(4, 17) if f"{one:.{n}g}" != f"{other:.{n}g}"), 17)
