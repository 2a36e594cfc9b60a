"""read_stored: jobs as an API server holds them, those of an older or looser CRD among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.corpus import GOOD, each_good, good
from trainingjob.api.errors import check_manifest
from trainingjob.api.stored import Unreadable, read_stored
from trainingjob.api.v1alpha1 import Status, TrainingJob

META = {
    "name": "digits",
    "namespace": "team",
    "uid": "3f1c",
    "generation": 4,
    "resourceVersion": "812",
    "creationTimestamp": "2026-01-31T10:00:00Z",
    # What the server keeps beside what we read.
    "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}],
    "finalizers": ["example.com/wait"],
}
STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "phase": "Training",
    "conditions": [
        {
            "type": "Reconciling",
            "status": "True",
            "reason": "Running",
            "lastTransitionTime": "2026-01-31T10:00:05Z",
        }
    ],
    "stages": [{"name": "train", "phase": "Running", "attempt": 2}],
}


def stored(spec: Any = None, status: Any = None, **metadata: Any) -> bytes:
    """A good job; ``spec`` and ``status`` replace parts, or the whole when they are no objects."""
    obj = good("minimal") | {"metadata": META | metadata, "status": STATUS}
    for part, change in (("spec", spec), ("status", status)):
        if isinstance(change, dict):
            obj[part] = obj[part] | change
        elif change is not None:
            obj[part] = change
    return json.dumps(obj).encode()


def train(**fields: Any) -> dict[str, Any]:
    return {"train": {"model": {"mlp": {}}} | fields}


# --- what is in order -------------------------------------------------------------------------


def test_a_job_is_read_with_its_metadata_and_status() -> None:
    job = read_stored(stored())

    assert isinstance(job, TrainingJob)
    assert (job.metadata.name, job.metadata.namespace, job.metadata.uid) == (
        "digits",
        "team",
        "3f1c",
    )
    assert (job.metadata.generation, job.metadata.resource_version) == (4, "812")
    assert job.metadata.deletion_timestamp is None
    assert job.status.phase == "Training"
    assert job.status.stages[0].attempt == 2


@each_good
def test_a_good_manifest_is_read_as_it_was_checked(name: str) -> None:
    job, _ = check_manifest(GOOD[name])
    assert job is not None

    again = read_stored(json.dumps(job.to_dict()).encode())

    assert again == job


@pytest.mark.parametrize(
    ("what", "data"),
    {
        "fields that a newer operator wrote": stored(
            status={"mood": "fine", "stages": [{"name": "train", "color": "red"}]}
        ),
        "an empty status": stored().replace(json.dumps(STATUS).encode(), b"{}"),
        "a time with fractions of seconds, in another zone": stored(
            status={"startTime": "2026-01-31T12:00:00.123456789+02:00"}
        ),
        "a job that is being deleted": stored(deletionTimestamp="2026-01-31T11:00:00Z"),
        "whole numbers as JSON has them where fractions may stand": stored(
            spec=train(optimizer={"adam": {"learningRate": 1, "weightDecay": 0}})
        ),
        "a number beyond 64 bits, where any may stand": stored(
            spec={
                "preprocess": {
                    "input": {"uri": "pvc://a/b", "format": "csv"},
                    "steps": [{"fillna": {"value": 10**20}}],
                }
            }
        ),
        # A pod may have it too: the later one counts. Of volumes it would be refused, and told.
        "a variable that is there twice": stored(
            spec=train(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
        ),
    }.items(),
)
def test_it_reads(what: str, data: bytes) -> None:
    assert isinstance(read_stored(data), TrainingJob), what


@pytest.mark.parametrize("spec", [None, train(nodes=0)], ids=["in order", "not understood"])
def test_a_job_that_nobody_has_worked_on_has_the_first_status(spec: Any) -> None:
    obj = json.loads(stored(spec=spec))
    del obj["status"]

    found = read_stored(json.dumps(obj).encode())

    assert isinstance(found, Unreadable) == (spec is not None)
    assert found.status == Status()


# --- what an older or looser definition let pass --------------------------------------------------

LOOSE: dict[str, tuple[bytes, str]] = {
    "a bound that was wider": (
        stored(spec=train(nodes=5000)),
        "spec.train.nodes: must be less than or equal to 1000, not 5000",
    ),
    "a field that was optional": (
        stored(spec={"task": {"label": "target"}}),
        "spec.task.type: required field is missing",
    ),
    "a field that is no more": (
        stored(spec=train(batchsize=32)),
        'spec.train.batchsize: unknown field "batchsize", did you mean "batchSize"?',
    ),
    "a choice that is no more": (
        stored(spec=train(precision="fp8")),
        'spec.train.precision: must be one of "auto", "fp32", "bf16", not "fp8"',
    ),
    "a mount over everything": (
        stored(
            spec=train(
                template={
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/"}],
                }
            )
        ),
        "spec.train.template.volumeMounts[0].mountPath: must be an absolute path without spaces, "
        "':' and '//', and not '/' alone",
    ),
    "affinity of which nobody knew the fields": (
        stored(spec=train(template={"affinity": {"nodeAfinity": {"a": [None, 1.5]}}})),
        'spec.train.template.affinity.nodeAfinity: unknown field "nodeAfinity", did you mean '
        '"nodeAffinity"?',
    ),
    "a term that no definition checks": (
        stored(
            spec=train(
                template={
                    "affinity": {
                        "podAntiAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [{"topology": "zone"}]
                        }
                    }
                }
            )
        ),
        "spec.train.template.affinity.podAntiAffinity"
        ".requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: required field is "
        "missing; spec.train.template.affinity.podAntiAffinity"
        ".requiredDuringSchedulingIgnoredDuringExecution[0].topology: unknown field "
        '"topology", did you mean "topologyKey"?',
    ),
    "a rule that was not there": (
        stored(spec=train(resources={"requests": {"cpu": 2}, "limits": {"cpu": "1"}})),
        "spec.train.resources: requests must not be above limits",
    ),
    "a null that was allowed": (
        stored(spec=train(nodes=None)),
        "spec.train.nodes: must be an integer, not null",
    ),
    "text for a number": (
        stored(spec=train(nodes="2")),
        "spec.train.nodes: must be an integer, not a string: remove the quotes",
    ),
    "text for a whole stage": (
        stored(spec={"train": "please"}),
        "spec.train: must be an object, not a string",
    ),
    "text for the spec": (stored(spec="please"), "spec: must be an object, not a string"),
    "a name that is too long for ours": (
        stored(name="n" * 64),
        "metadata.name: must have at most 63 characters",
    ),
    "a name with a dot": (
        stored(name="a.b"),
        "metadata.name: must be lower-case letters, digits and '-', beginning with a letter and "
        "ending with a letter or digit",
    ),
    "more faults than anybody reads": (
        stored(spec={**train(nodes=0, epochs=0, seed=-1, batchSize=0), "task": 1}),
        "spec.task: must be an object, not an integer: its fields are type, label, text, messages, "
        "features, positiveClass; "
        "spec.train.nodes: must be greater than or equal to 1, not 0; "
        "spec.train.epochs: must be greater than or equal to 1, not 0; and 2 more",
    ),
}


@pytest.mark.parametrize("what", LOOSE)
def test_it_does_not_understand_but_tells(what: str) -> None:
    data, message = LOOSE[what]

    found = read_stored(data)

    assert isinstance(found, Unreadable)
    assert found.message == message
    # Enough to write a status, as long as that can be read.
    meta = json.loads(data)["metadata"]
    assert found.metadata.name == meta["name"]
    assert (found.metadata.namespace, found.metadata.uid) == ("team", "3f1c")
    assert found.metadata.generation == 4
    assert found.status == Status.model_validate(STATUS)


def test_what_it_tells_fits_into_a_status_however_much_is_wrong() -> None:
    long = "x" * 5000
    spec = {long + str(i): 1 for i in range(50)} | train(precision=long, image="ü" + long)

    found = read_stored(stored(spec=spec))

    assert isinstance(found, Unreadable)
    assert len(found.message) < 1500
    assert "more" in found.message


def test_secrets_are_not_repeated() -> None:
    data = stored(spec=train(env=[{"name": "TOKEN", "value": ["hunter2"]}]))

    found = read_stored(data)

    assert isinstance(found, Unreadable)
    assert found.message == "spec.train.env[0].value: must be a string, not a list"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"phase": "Done"}, "status.phase: must be one of "),
        ({"startTime": "yesterday"}, "status.startTime: must be a time in RFC 3339"),
        ({"stages": [{"name": "train", "attempt": "2"}]}, "status.stages[0].attempt: must be an"),
        ({"message": "x" * 3000}, "status.message: must have at most 2048 characters"),
        ("fine", "status: must be an object, not a string"),
        ([], "status: must be an object, not a list"),
    ],
)
def test_a_status_that_cannot_be_read_is_left_alone(status: Any, message: str) -> None:
    """It holds which attempt runs: what was made of a guess would be worse than nothing."""
    found = read_stored(stored(status=status))

    assert isinstance(found, Unreadable)
    assert found.status is None
    assert found.message.startswith(message)
