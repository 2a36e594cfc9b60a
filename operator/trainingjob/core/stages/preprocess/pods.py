"""A Spark driver pod, or one pandas pod."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....api import payload as contract
from ....api.v1alpha1 import Preprocess, TrainingJob
from ... import names
from ...children import cache, own_code
from ...children.environment import encoded, own_address
from ...children.pod import Maker, job_ref
from ...children.pod import pod as make_pod
from ...observation import Settings
from . import spark


def executors(job: TrainingJob) -> int:
    """How many Spark executors the driver makes; 0 for pandas."""
    spec = spec_of(job)
    if spec.engine != "spark":
        return 0
    return spark.instances(spec)


def maker(job: TrainingJob, attempt: int, settings: Settings, image: str) -> Maker:
    """Of the driver pod, or the pandas pod."""
    spec = spec_of(job)
    on_spark = spec.engine == "spark"
    (task, train), output = job.spec.trained, names.dataset_uri(job)
    tokenize, given = spec.tokenize, job.spec.tokenizer
    pretrained = job.spec.pretrained
    if tokenize is not None and given is not None:
        tokenize = tokenize.model_copy(update={"from_": given})
    payload = contract.PreprocessPayload(
        job=job_ref(job, "preprocess"),
        attempt=attempt,
        task=task,
        engine=spec.engine,
        input=spec.input,
        inputs=spec.inputs or {},
        **own_code.told(job, spec),
        steps=spec.steps or [],
        split=spec.split,
        tokenize=tokenize,
        pretrained=given if pretrained is not None and given == pretrained.uri else None,
        spark_conf=spec.spark_conf or {},
        kubernetes=_on_kubernetes(job, spec, attempt, image) if on_spark else None,
        numeric_features=train.model is not None and train.model.mlp is not None,
        sample_weight=train.sample_weight,
        output=output,
        sealed=(job.spec.evaluate is not None and job.spec.evaluate.sealed) or None,
        cache=cache.ref(job, "preprocess", spec, image),
    )
    return partial(
        make_pod,
        job,
        "preprocess",
        attempt,
        settings,
        image=image,
        payload=encoded(payload),
        env=_spark_env() if on_spark else [],
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(
            *spec.uris,
            *spec.uris_of_code,
            *([given] if given is not None else []),
            output,
        ),
        config_maps=own_code.maps(spec),
        fetched=own_code.fetched(spec, settings.images["spark"]),
        resources=spec.driver.resources if spec.driver else None,
        template=spec.template,
        service_account=spark.SERVICE_ACCOUNT if on_spark else None,
    )


def _on_kubernetes(
    job: TrainingJob, spec: Preprocess, attempt: int, image: str
) -> contract.SparkOnKubernetes:
    uris = (*spec.uris, names.dataset_uri(job))
    return spark.on_kubernetes(job, spec, attempt, image, uris)


def _spark_env() -> list[dict[str, Any]]:
    return [
        {"name": contract.SPARK_MASTER, "value": spark.MASTER},
        own_address(),
    ]


def spec_of(job: TrainingJob) -> Preprocess:
    """The stage's part of the manifest."""
    if job.spec.preprocess is None:
        raise ValueError("the job has no preprocess stage")
    return job.spec.preprocess
