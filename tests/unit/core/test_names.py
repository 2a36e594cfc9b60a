"""Names of children: what Kubernetes takes, and never those of another job."""

from __future__ import annotations

import json
import re

import pytest

from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.api.stages import STAGE_NAMES
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, names, stages

from .world import manifest

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# Kubernetes' limits: of Services and labels, of pods, and of Spark's executorPodNamePrefix.
SERVICE, POD, PREFIX = 63, 253, 47


def job(name: str) -> TrainingJob:
    made = manifest()
    return TrainingJob.from_dict(made | {"metadata": made["metadata"] | {"name": name}})


@pytest.mark.parametrize("length", [1, 40, 52, 53, 57, 58, 62, 63])
@pytest.mark.parametrize("tail", ["a", "-a", "-1"])
def test_children_of_a_job_of_the_longest_name_fit(length: int, tail: str) -> None:
    name = ("j" * length)[: -len(tail)] + tail if length > len(tail) else "j"
    one = job(name)
    for room in stages.of(one):
        for child in room.others(one, Settings()):
            found = child["metadata"]["name"]
            assert len(found) <= SERVICE and LABEL.fullmatch(found)
            assert names.is_child(name, found)
        for pod in room.pods(one, 999_999, Settings()):
            meta = pod["metadata"]
            assert len(meta["name"]) <= POD
            assert names.place_of(name, meta["name"]) is not None
            assert all(len(value) <= SERVICE for value in meta["labels"].values())
    (driver,) = stages.named("preprocess").pods(one, 999_999, Settings())
    (told,) = (v for v in driver["spec"]["containers"][0]["env"] if v["name"] == STAGE_PAYLOAD)
    conf = json.loads(told["value"])["kubernetes"]["conf"]
    prefix = conf["spark.kubernetes.executor.podNamePrefix"]
    assert len(prefix) <= PREFIX and LABEL.fullmatch(prefix)


def test_names_that_fit_are_as_they_were_and_others_tell_jobs_apart() -> None:
    assert names.child_name(job("digits"), "train") == "digits-train"
    assert names.child_name(job("j" * 57), "train") == "j" * 57 + "-train"
    long = {names.child_name(job("j" * 60 + end), "train") for end in ("a", "b", "ab", "-a")}
    assert len(long) == 4
    assert all(len(name) == SERVICE for name in long)
    for stage in STAGE_NAMES:
        assert not names.is_child("j" * 61, names.child_name(job("j" * 62), stage))
