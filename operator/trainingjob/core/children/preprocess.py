"""The preprocess stage: a Spark driver pod, or one pandas pod."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...api import payload as contract
from ...api.v1alpha1 import Preprocess, TrainingJob
from .. import names
from ..observation import Settings
from . import cache, spark
from .pod import Maker, claims_of, encoded, job_ref, script_ref
from .pod import pod as make_pod


def replicas(job: TrainingJob) -> int:
    """One: executors are made by the driver."""
    return 1


def executors(job: TrainingJob) -> int:
    """How many Spark executors the driver makes; 0 for pandas."""
    spec = _spec(job)
    if spec.engine != "spark":
        return 0
    return spark.instances(spec)


def maker(job: TrainingJob, attempt: int, settings: Settings) -> Maker:
    """Of the driver pod, or the pandas pod."""
    spec = _spec(job)
    on_spark = spec.engine == "spark"
    image = spec.image or settings.images["preprocess"]
    output = names.dataset_uri(job)
    tokenize, given = spec.tokenize, job.spec.tokenizer
    if tokenize is not None and given is not None:
        tokenize = tokenize.model_copy(update={"from_": given})
    payload = contract.PreprocessPayload(
        job=job_ref(job, "preprocess"),
        attempt=attempt,
        task=job.spec.task,
        engine=spec.engine,
        input=spec.input,
        inputs=spec.inputs or {},
        script=script_ref(spec.script),
        steps=spec.steps or [],
        split=spec.split,
        tokenize=tokenize,
        spark_conf=spec.spark_conf or {},
        kubernetes=_on_kubernetes(job, spec, attempt, image) if on_spark else None,
        numeric_features=job.spec.train.model is not None and job.spec.task.type != "languageModel",
        sample_weight=job.spec.train.sample_weight,
        output=output,
        cache=cache.ref(job, "preprocess", image),
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
        uris=(*spec.uris, *([given] if given is not None else []), output),
        script=spec.script,
        resources=spec.driver.resources if spec.driver else None,
        template=spec.template,
        service_account=spark.SERVICE_ACCOUNT if on_spark else None,
    )


def _on_kubernetes(
    job: TrainingJob, spec: Preprocess, attempt: int, image: str
) -> contract.SparkOnKubernetes:
    claims = claims_of(*spec.uris, names.dataset_uri(job))
    return spark.on_kubernetes(job, spec, attempt, image, claims)


def _spark_env() -> list[dict[str, Any]]:
    return [
        {"name": contract.SPARK_MASTER, "value": spark.MASTER},
        {"name": contract.POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]


def _spec(job: TrainingJob) -> Preprocess:
    if job.spec.preprocess is None:
        raise ValueError("the job has no preprocess stage")
    return job.spec.preprocess
