"""A gang of pods that learn."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ....api import gates
from ....api import payload as contract
from ....api.uris import is_remote
from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.evaluate import BINARY_METRICS
from ....api.v1alpha1.train import Train
from ... import frameworks, names
from ...children import cache, own_code
from ...children.pod import (
    RUNTIME,
    Maker,
    encoded,
    escape,
    handed_over,
    job_ref,
    mounted,
    named,
    own_address,
    threads,
)
from ...children.pod import pod as make_pod
from ...frameworks import Gang, torch
from ...observation import Settings
from .. import meeting
from ..evaluate.pods import metrics


def spec_of(job: TrainingJob) -> Train:
    """Raises ValueError for a job that only deploys."""
    return job.spec.trained[1]


def runs_as_it_stands(job: TrainingJob) -> bool:
    """A user's own image needs none of our code: its command runs without our wrapper."""
    train = spec_of(job)
    ours = (train.script, train.code, train.requirements)
    return train.image is not None and train.command is not None and ours == (None, None, None)


def maker(job: TrainingJob, attempt: int, settings: Settings, image: str) -> Maker:
    """Of the gang's nodes."""
    task, spec = job.spec.trained
    plain = runs_as_it_stands(job)
    judged = job.spec.evaluate
    payload = contract.TrainPayload(
        job=job_ref(job, "train"),
        attempt=attempt,
        task=task,
        nodes=spec.nodes,
        procs_per_node=spec.procs_per_node,
        model=spec.model,
        optimizer=spec.optimizer,
        schedule=spec.schedule,
        early_stopping=spec.early_stopping,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        precision=spec.precision,
        checkpoint=spec.checkpoint,
        class_weights=spec.class_weights,
        sample_weight=spec.sample_weight,
        target_transform=spec.target_transform,
        gradient_accumulation=spec.gradient_accumulation,
        gradient_clip=spec.gradient_clip,
        tokens=spec.tokens,
        sharding=spec.sharding,
        activation_checkpointing=spec.activation_checkpointing,
        compile=spec.compile,
        ema=spec.ema,
        export=spec.export,
        search=spec.search,
        seed=spec.seed,
        **own_code.told(job, spec),
        stream_dataset=spec.stream_dataset or None,
        needs_model=judged is not None and (not judged.own_code or job.spec.uses_model),
        metrics=[name for name in metrics(job) if name in BINARY_METRICS] or None
        if judged is not None and not judged.own_code
        else None,
        threshold=judged.threshold if judged else None,
        accepted=names.accepted_uri(job) if gates.compared(gates.of(job)) else None,
        dataset=names.dataset_uri(job),
        checkpoints=names.checkpoints_uri(job),
        model_uri=names.model_uri(job),
        cache=None if plain else cache.ref(job, "train", spec, image, gang=spec.nodes > 1),
    )
    common = partial(
        make_pod,
        job,
        "train",
        attempt,
        settings,
        image=image,
        payload=encoded(payload),
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(
            payload.dataset,
            payload.model_uri,
            *([job.spec.pretrained.uri] if job.spec.pretrained is not None else []),
            *spec.uris_of_code,
        ),
        config_maps=own_code.maps(spec),
        fetched=own_code.fetched(spec, settings.images["torch"]),
        resources=spec.resources,
        template=spec.template,
        command=spec.command if plain and spec.command else RUNTIME,
        args=(spec.args or ()) if plain else (),
        shared_memory=True,
    )
    gang = _gang(job, attempt)
    if gang.pods:
        common = partial(common, subdomain=names.peers_name(job, "train"))
    return lambda index: common(index, env=_env(job, payload, gang, index))


def _gang(job: TrainingJob, attempt: int) -> Gang:
    """Pods of own code have names, since not every framework asks rank 0 for its peers."""
    spec = spec_of(job)
    named = attempt if spec.model is None else None
    limits = (spec.resources and spec.resources.limits) or {}
    gang = meeting.gang_of(job, "train", spec.nodes, spec.procs_per_node, named)
    return replace(gang, accelerators=frozenset(limits))


def _env(
    job: TrainingJob, payload: contract.TrainPayload, gang: Gang, index: int
) -> list[dict[str, Any]]:
    """How the gang's processes find each other, and the plain variables for user code."""
    spec = spec_of(job)

    def place(uri: str) -> str:
        # Where our runtime is not, nobody brings it from there.
        return escape(uri) if is_remote(uri) and runs_as_it_stands(job) else mounted(uri)

    given = {variable.name for variable in spec.env or ()}
    met = frameworks.variables(gang, index) | torch.launcher(gang, index)
    variables = {name: value for name, value in met.items() if name not in given} | {
        **({contract.INPUT_DIR: place(payload.dataset)} if job.spec.has_dataset else {}),
        contract.OUTPUT_DIR: place(payload.model_uri),
        contract.CHECKPOINT_DIR: place(payload.checkpoints),
        contract.SEED: str(spec.seed),
        **handed_over(job),
    }
    for name, uri in (
        (contract.INPUT_URI, payload.dataset),
        (contract.CHECKPOINT_URI, payload.checkpoints),
    ):
        if is_remote(uri) and (job.spec.has_dataset or uri != payload.dataset):
            variables[name] = escape(uri)
    variables |= threads(spec.resources, spec.env, spec.procs_per_node)
    address = [own_address()] if gang.nodes > 1 else []
    return address + named(variables)
