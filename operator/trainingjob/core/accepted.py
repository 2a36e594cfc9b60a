"""The accepted model as status has it: pods can write a record on the storage, not this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..api import gates, variants
from ..api.payload import Baseline
from ..api.stages import STAGE_NAMES
from ..api.v1alpha1 import Evaluation, TrainingJob
from ..api.v1alpha1.reported import MetricValue
from ..api.v1alpha1.status import Accepted
from . import names

# Stands for a digest before there is one, in a dry run.
NO_DIGEST = f"sha256:{'0' * 64}"


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


def digest_of(job: TrainingJob) -> str:
    """Of the model that is named, or was accepted; "" as long as status has none."""
    given = job.spec.promoted
    if given is not None:
        return given.digest
    found = job.status.evaluation
    return found.model_digest if found is not None and found.passed else ""


def named_by(job: Mapping[str, Any]) -> str:
    """The URI of the accepted model that a job as the API server has it is to serve or predict by;
    "" when it names none, or is over. Raises nothing for whatever an API server can hold."""
    if _part(job, "status").get("phase") in ("Succeeded", "Failed"):
        return ""
    spec = _part(job, "spec")
    uris = (_part(_part(spec, stage), "model").get("uri") for stage in STAGE_NAMES)
    return next((uri for uri in uris if isinstance(uri, str)), "")


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = obj.get(name)
    return found if isinstance(found, Mapping) else {}


def unsaid(job: TrainingJob) -> str:
    """In words, that the evaluation does not tell which model it has accepted; "" when it does, or
    there is none yet."""
    if job.status.evaluation is None or digest_of(job):
        return ""
    return "the evaluation does not say which model it has accepted"


def unavailable(job: TrainingJob, variant: str | None) -> str:
    """In words, that the accepted model is not there in a form that is asked for; "" when it is, or
    when only its folder tells, as that of another job's."""
    found = job.status.evaluation
    if variant is None or job.spec.promoted is not None or found is None:
        return ""
    return variants.unavailable(variant, found.variants or ())


def uri_of(job: TrainingJob) -> str:
    """The folder of that model, which stays as it is."""
    given, judged = job.spec.promoted, job.status.evaluation
    if given is not None:
        return given.uri
    digest = digest_of(job) or NO_DIGEST
    return names.accepted_model_uri(job, digest, judged.dataset_digest if judged else "")
