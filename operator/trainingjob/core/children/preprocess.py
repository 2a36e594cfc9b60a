"""The preprocess stage: a Spark driver pod, or one pandas pod."""

from __future__ import annotations

from typing import Any

from ...api import payload as contract
from ...api.v1alpha1 import Preprocess, TrainingJob
from .. import names
from ..observation import Settings
from .pod import claims_of, job_ref, script_ref
from .pod import pod as make_pod

SPARK_MASTER = "k8s://https://kubernetes.default.svc:443"
SPARK_SERVICE_ACCOUNT = "trainingjob-spark"


def replicas(job: TrainingJob) -> int:
    """One: executors are made by the driver."""
    return 1


def pod(job: TrainingJob, attempt: int, index: int, settings: Settings) -> dict[str, Any]:
    """The driver pod, or the pandas pod."""
    spec = _spec(job)
    spark = spec.engine == "spark"
    payload = contract.PreprocessPayload(
        job=job_ref(job),
        attempt=attempt,
        task=job.spec.task,
        engine=spec.engine,
        input=spec.input,
        script=script_ref(spec.script),
        steps=spec.steps or [],
        split=spec.split,
        spark_conf=_spark_conf(job, attempt) if spark else {},
        numeric_features=job.spec.train.model is not None,
        output=names.dataset_uri(job),
    )
    return make_pod(
        job,
        "preprocess",
        attempt,
        index,
        settings,
        image=spec.image or settings.images["preprocess"],
        payload=payload,
        env=[{"name": contract.SPARK_MASTER, "value": SPARK_MASTER}] if spark else [],
        user_env=spec.env,
        claims=claims_of(spec.input.uri, payload.output),
        script=spec.script,
        resources=spec.driver.resources if spec.driver else None,
        template=spec.template,
        service_account=SPARK_SERVICE_ACCOUNT if spark else None,
    )


def _spec(job: TrainingJob) -> Preprocess:
    if job.spec.preprocess is None:
        raise ValueError("the job has no preprocess stage")
    return job.spec.preprocess


def _spark_conf(job: TrainingJob, attempt: int) -> dict[str, str]:
    """The user's settings, then those that tie the executors to the job."""
    spec = _spec(job)
    conf = dict(spec.spark_conf or {})
    driver = names.pod_name(job, "preprocess", attempt, 0)
    instances = spec.executor.instances if spec.executor else 2
    conf |= {
        "spark.executor.instances": str(instances),
        "spark.kubernetes.namespace": job.metadata.namespace,
        "spark.kubernetes.driver.pod.name": driver,
        "spark.kubernetes.executor.podNamePrefix": driver,
        "spark.kubernetes.container.image": spec.image or "",
    }
    return {key: value for key, value in conf.items() if value}
