"""Pods that judge: one or, of a language model, a gang."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....api import payload as contract
from ....api.v1alpha1 import Evaluate, TrainingJob
from ... import accepted, names
from ...children import own_code
from ...children.environment import encoded, handed_over, mounted, named, own_address, threads
from ...children.pod import Maker, job_ref
from ...children.pod import pod as make_pod
from ...frameworks import torch
from ...observation import Settings
from .. import meeting

_DEFAULT_METRICS = {
    "classification": ["accuracy", "f1_macro"],
    "regression": ["rmse", "r2"],
    "languageModel": ["perplexity", "bits_per_byte"],
}
# As the payload has room for.
_MOST_IN_USE = 64
_OF_ANSWERS = ["perplexity", "token_accuracy"]


def nodes(job: TrainingJob) -> int:
    """How many pods."""
    return spec_of(job).nodes or 1


def maker(job: TrainingJob, attempt: int, settings: Settings, image: str) -> Maker:
    """Of the pods that judge."""
    spec, (task, train) = spec_of(job), job.spec.trained
    processes = spec.procs_per_node or 1
    together = nodes(job) * processes > 1
    payload = contract.EvaluatePayload(
        job=job_ref(job, "evaluate"),
        attempt=attempt,
        task=task,
        metrics=metrics(job),
        threshold=spec.threshold,
        sealed=spec.sealed or None,
        dataset=names.dataset_uri(job),
        model_uri=names.model_uri(job),
        output=names.evaluation_uri(job),
        gates=spec.gates or [],
        accepted=names.accepted_uri(job),
        baseline=accepted.baseline(job),
        in_use=_in_use(job, settings) or None,
        export=train.export,
        nodes=nodes(job) if together else None,
        procs_per_node=processes if together else None,
        **own_code.told(job, spec),
    )
    gang = meeting.gang_of(job, "evaluate", nodes(job), processes)
    limits = threads(spec.resources, spec.env, processes)
    address = [own_address()] if gang.nodes > 1 else []
    own = {contract.SEED: str(train.seed)} if spec.own_code else {}
    if spec.own_code and job.spec.has_dataset:
        own[contract.INPUT_DIR] = mounted(payload.dataset)

    def env(index: int) -> list[dict[str, Any]]:
        met = torch.variables(gang, index) if together else {}
        variables = met | limits | own | handed_over(job)
        return address + named(variables)

    common = partial(
        make_pod,
        job,
        "evaluate",
        attempt,
        settings,
        image=image,
        payload=encoded(payload),
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(payload.dataset, payload.output, *spec.uris_of_code),
        config_maps=own_code.maps(spec),
        fetched=own_code.fetched(spec, settings.images["torch"]),
        resources=spec.resources,
        template=spec.template,
        shared_memory=together or spec.own_code,
    )
    return lambda index: common(index, env=env(index))


def _in_use(job: TrainingJob, settings: Settings) -> list[str]:
    """Folders of the models that are served, or may be again, and of those that jobs name."""
    found = job.status.deployment
    uris = []
    if found is not None:
        before = [found.previous.model_uri] if found.previous is not None else []
        uris = [found.model_uri, *before]
    told = [uri.rpartition("/")[2] for uri in uris if uri]
    return [*dict.fromkeys([*told, *settings.in_use])][:_MOST_IN_USE]


def metrics(job: TrainingJob) -> list[str]:
    """Metrics for status: those asked for, or the task's usual ones, and those with gates. Of own
    code that is asked for none, the pod adds the first ones that it writes."""
    spec = spec_of(job)
    task, _ = job.spec.trained
    usual = _OF_ANSWERS if task.messages is not None else _DEFAULT_METRICS[task.type]
    if spec.own_code and spec.metrics is None:
        return []
    asked = spec.metrics or usual
    return list(dict.fromkeys([*asked, *(gate.metric for gate in spec.gates or ())]))


def spec_of(job: TrainingJob) -> Evaluate:
    """The stage's part of the manifest."""
    if job.spec.evaluate is None:
        raise ValueError("the job has no evaluate stage")
    return job.spec.evaluate
