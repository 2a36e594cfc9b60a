"""The last accepted model as status has it: pods can write a record on the storage, not this."""

from __future__ import annotations

from ..api import gates
from ..api.payload import Baseline
from ..api.v1alpha1 import Evaluation, TrainingJob
from ..api.v1alpha1.status import Accepted, MetricValue
from . import names


def last(job: TrainingJob, evaluation: Evaluation | None) -> Accepted | None:
    """After the ``evaluation``, if there is one."""
    known = job.status.accepted
    if evaluation is None or not evaluation.passed:
        return known
    if known is not None and evaluation == job.status.evaluation:
        return known  # of where it was then
    return Accepted(
        uri=names.accepted_uri(job),
        metrics=[MetricValue(name=one.name, value=one.value) for one in evaluation.metrics],
        model_digest=evaluation.model_digest,
        dataset_digest=evaluation.dataset_digest,
    )


def baseline(job: TrainingJob) -> Baseline | None:
    """What the job's gates compare with, of that; None where there is nothing, as for the first
    run of a job, and of one whose artefacts lie elsewhere by now."""
    found, compared = job.status.accepted, gates.compared(gates.of(job))
    if found is None or found.uri != names.accepted_uri(job):
        return None
    known = {one.name: one.value for one in found.metrics if one.name in compared}
    return Baseline(metrics=known, dataset_digest=found.dataset_digest) if known else None
