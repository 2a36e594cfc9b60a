"""One pod that judges."""

from __future__ import annotations

from functools import partial

from ....api import payload as contract
from ....api.v1alpha1 import Evaluate, TrainingJob
from ... import names
from ...children.pod import Maker, encoded, job_ref, threads_of
from ...children.pod import pod as make_pod
from ...observation import Settings

_DEFAULT_METRICS = {
    "classification": ["accuracy", "f1_macro"],
    "regression": ["rmse", "r2"],
    "languageModel": ["perplexity", "bits_per_byte"],
}
_OF_ANSWERS = ["perplexity", "token_accuracy"]


def maker(job: TrainingJob, attempt: int, settings: Settings, image: str) -> Maker:
    """Of the pod that judges."""
    spec = _spec(job)
    payload = contract.EvaluatePayload(
        job=job_ref(job, "evaluate"),
        attempt=attempt,
        task=job.spec.task,
        metrics=metrics(job),
        threshold=spec.threshold,
        dataset=names.dataset_uri(job),
        model_uri=names.model_uri(job),
        output=names.evaluation_uri(job),
        gates=spec.gates or [],
        accepted=names.accepted_uri(job),
        in_use=_in_use(job) or None,
    )
    count = threads_of(spec.resources)
    given = any(variable.name == "OMP_NUM_THREADS" for variable in spec.env or ())
    threads = [] if given or not count else [{"name": "OMP_NUM_THREADS", "value": str(count)}]
    return partial(
        make_pod,
        job,
        "evaluate",
        attempt,
        settings,
        image=image,
        payload=encoded(payload),
        env=threads,
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(payload.dataset, payload.output),
        resources=spec.resources,
        template=spec.template,
    )


def _in_use(job: TrainingJob) -> list[str]:
    """Digests of the models that are served, or may be again."""
    found = job.status.deployment
    if found is None:
        return []
    before = [found.previous.model_digest] if found.previous is not None else []
    return [digest for digest in (found.model_digest, *before) if digest]


def metrics(job: TrainingJob) -> list[str]:
    """Metrics for status: those asked for, or the task's usual ones, and those with gates."""
    spec = _spec(job)
    task = job.spec.task
    usual = _OF_ANSWERS if task.messages is not None else _DEFAULT_METRICS[task.type]
    asked = spec.metrics or usual
    return list(dict.fromkeys([*asked, *(gate.metric for gate in spec.gates or ())]))


def _spec(job: TrainingJob) -> Evaluate:
    if job.spec.evaluate is None:
        raise ValueError("the job has no evaluate stage")
    return job.spec.evaluate
