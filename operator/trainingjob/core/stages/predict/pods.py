"""The pod that predicts."""

from __future__ import annotations

from functools import partial

from ....api import payload as contract
from ....api.v1alpha1 import Input, TrainingJob
from ....api.v1alpha1.predict import Predict
from ... import accepted, names
from ...children.environment import encoded, named, threads
from ...children.pod import Maker, job_ref
from ...children.pod import pod as make_pod
from ...observation import Settings


def maker(job: TrainingJob, attempt: int, settings: Settings, image: str) -> Maker:
    """Of the one pod."""
    spec = spec_of(job)
    payload = contract.PredictPayload(
        job=job_ref(job, "predict"),
        attempt=attempt,
        model_uri=accepted.uri_of(job),
        digest=accepted.digest_of(job) or accepted.NO_DIGEST,
        variant=spec.variant,
        input=Input.model_validate(spec.input.to_dict()),
        output=output_of(job),
        keep=spec.keep,
        unpredictable=spec.unpredictable,
    )
    return partial(
        make_pod,
        job,
        "predict",
        attempt,
        settings,
        image=image,
        payload=encoded(payload),
        env=named(threads(spec.resources, spec.env)),
        user_env=spec.env,
        env_from=spec.env_from,
        uris=(payload.model_uri, payload.input.uri, payload.output),
        resources=spec.resources,
        template=spec.template,
    )


def output_of(job: TrainingJob) -> str:
    """Where the predictions go."""
    return spec_of(job).output or names.predictions_uri(job)


def spec_of(job: TrainingJob) -> Predict:
    """Raises ValueError for a job that does not predict."""
    if job.spec.predict is None:
        raise ValueError("the job has no predict stage")
    return job.spec.predict
