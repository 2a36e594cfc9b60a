"""An accepted model stays as long as anybody needs it: what serves it, and jobs that name it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST
from tests.unit.core.world import World, manifest
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cluster import Cache
from trainingjob.cluster.resources import JOBS
from trainingjob.core import ChildView, Observation, applied
from trainingjob.core.accepted import named_by
from trainingjob.core.names import accepted_uri

OURS = accepted_uri(TrainingJob.from_dict(manifest()))
NOTHING: dict[str, Any] = {}


def using(stage: str, uri: object = f"{OURS}/one", **status: Any) -> dict[str, Any]:
    """A job as the API server has it."""
    metadata = {"namespace": "team", "name": "nightly", "uid": "n", "resourceVersion": "7"}
    spec = {stage: {"model": {"uri": uri, "digest": DIGEST}}}
    return {"metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("job", "uri"),
    [
        (using("predict"), f"{OURS}/one"),
        (using("deploy", phase="Pending"), f"{OURS}/one"),
        (using("predict", phase="Suspended"), f"{OURS}/one"),
        (using("predict", phase="Predicting"), f"{OURS}/one"),
        (using("predict", phase="Succeeded"), ""),
        (using("predict", phase="Failed"), ""),
        (using("predict", uri=7), ""),
        ({"spec": {"train": {"model": {"pretrained": {"uri": "pvc://a/b"}}}}}, ""),
        ({"spec": {"predict": None, "deploy": "x"}, "status": None}, ""),
        (NOTHING, ""),
    ],
)
def test_which_model_a_job_names(job: dict[str, Any], uri: str) -> None:
    assert named_by(job) == uri


def test_they_are_known_of_the_jobs_of_a_namespace_that_are_not_over() -> None:
    cache = Cache()
    job = using("predict")
    cache.apply(JOBS, job)
    other = using("deploy", uri="pvc://elsewhere/two")
    other["metadata"] |= {"namespace": "others", "uid": "o"}
    cache.apply(JOBS, other)
    assert cache.named("team") == (f"{OURS}/one",)
    assert cache.named("others") == ("pvc://elsewhere/two",)
    # One that asks for a rerun needs it again.
    for version, phase, known in (("8", "Succeeded", ()), ("9", "Pending", (f"{OURS}/one",))):
        job = using("predict", phase=phase)
        job["metadata"]["resourceVersion"] = version
        cache.apply(JOBS, job)
        assert cache.named("team") == known
    cache.remove(JOBS, job)
    assert cache.named("team") == ()


def test_what_is_served_comes_first_and_a_model_counts_once() -> None:
    job = TrainingJob.from_dict(manifest())
    served = ChildView(
        "Deployment", "live", annotations={"trainingjob.dev/model-uri": f"{OURS}/two"}
    )
    named = [f"{OURS}/one", f"{OURS}/two/", f"{OURS}/", "s3://elsewhere/accepted/three"]
    assert applied.in_use(job, [served], named) == ("two", "one")


@dataclass
class Named(World):
    """As World, with what other jobs name."""

    named: tuple[str, ...] = ()

    def observe(self) -> Observation:
        return replace(super().observe(), named=self.named)


def test_evaluation_keeps_the_model_that_another_job_predicts_by() -> None:
    it = Named(manifest(), named=tuple(f"{OURS}/{at}" for at in range(70)))
    it.settle()
    it.finish("preprocess")
    it.finish("train")
    (pod,) = it.of("evaluate")
    env = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    told = json.loads(env["TRAININGJOB_STAGE"])["inUse"]
    assert told == [str(at) for at in range(64)]
