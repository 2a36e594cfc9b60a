"""The definition over an older one, and what that has let pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.controlplane import CRDS, ControlPlane
from tests.cluster.wait import wait_for
from tests.unit.api.corpus import GOOD
from trainingjob.api.crd import crd
from trainingjob.api.stored import Unreadable, read_stored
from trainingjob.api.v1alpha1 import Status, TrainingJob

from .crd import ANNOTATIONS_LIMIT, DEFINITION, Jobs


def loose() -> dict[str, Any]:
    """A definition that lets everything pass, as an older one might."""
    definition = crd()
    (version,) = definition["spec"]["versions"]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": anything, "status": anything}
    version["schema"] = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return definition


TEXT = "train-is-text"
# Parts of a spec that the definition of today refuses, and where.
LOOSE: dict[str, tuple[dict[str, Any], str]] = {
    "too-many-nodes": ({"train": {"model": {"mlp": {}}, "nodes": 5000}}, "spec.train.nodes: "),
    "no-task": (
        {"task": None},
        "spec: task must be set, unless the job only uses an accepted model",
    ),
    "mount-over-root": (
        {
            "train": {
                "model": {"mlp": {}},
                "template": {
                    "volumes": [{"name": "a", "emptyDir": {}}],
                    "volumeMounts": [{"name": "a", "mountPath": "/"}],
                },
            }
        },
        "spec.train.template.volumeMounts[0].mountPath: must be an absolute path",
    ),
    "a-rule": ({"preprocess": None}, "spec: either preprocess or train.dataset must be set"),
    "n" * 70: ({}, "metadata.name: must have at most 63 characters"),
    TEXT: ({"train": "please"}, "spec.train: must be an object, not a string"),
}


@pytest.fixture(scope="module")
def upgraded() -> Iterator[tuple[ControlPlane, Jobs, str]]:
    """A control plane with jobs of the loose definition, and then `kubectl apply -f crds/`."""
    with ControlPlane() as control_plane:
        text = json.dumps(loose())
        control_plane.kubectl("apply", "-f", "-", input=text)
        control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all")
        jobs = Jobs(control_plane, control_plane.namespace())
        for name, (spec, _) in LOOSE.items():
            manifest = copy.deepcopy(GOOD["minimal"])
            manifest["spec"] |= spec
            manifest["spec"] = {k: v for k, v in manifest["spec"].items() if v is not None}
            jobs.create(manifest, name=name)
        jobs.create(GOOD["minimal"], name="fine")
        told = control_plane.kubectl("apply", "-f", CRDS).stdout
        # The API server goes by a new definition a moment after it has taken it.
        refused = {"spec": {"policy": 7}}
        path = f"{jobs.path('fine')}?dryRun=All"
        wait_for("it", lambda: control_plane.request("PATCH", path, refused)[0] == 422)
        yield control_plane, jobs, told


def test_kubectl_applies_the_definition_over_an_older_one_and_again(upgraded: Any) -> None:
    control_plane, _, told = upgraded
    annotations = control_plane.request("GET", DEFINITION)[1]["metadata"]["annotations"]

    assert "trainingjobs.trainingjob.dev configured" in told
    assert sum(map(len, annotations.values())) < ANNOTATIONS_LIMIT / 1.2
    for arguments in ((), ("--server-side", "--force-conflicts")):
        version = control_plane.request("GET", DEFINITION)[1]["metadata"]["generation"]
        control_plane.kubectl("apply", *arguments, "-f", CRDS)
        assert control_plane.request("GET", DEFINITION)[1]["metadata"]["generation"] == version
        diff = ("diff", *arguments, "-f", CRDS)
        assert control_plane.kubectl(*diff).stdout == ""


def test_the_definition_is_accepted_by_the_server_in_full(upgraded: Any) -> None:
    control_plane, _, _ = upgraded
    conditions = control_plane.request("GET", DEFINITION)[1]["status"]["conditions"]

    assert {c["type"]: c["status"] for c in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


@pytest.mark.parametrize("name", LOOSE)
def test_what_a_looser_definition_let_pass_is_read_told_and_deleted(
    name: str, upgraded: Any
) -> None:
    control_plane, jobs, _ = upgraded
    stored = jobs.get(name)

    found = read_stored(json.dumps(stored).encode())

    assert isinstance(found, Unreadable)
    assert found.message.startswith(LOOSE[name][1])
    assert found.status == Status()
    # What was wrong before may stay wrong: the operator can write what it has to say. Only where
    # rules expect an object and find none, the server evaluates them in vain.
    status = {"phase": "Failed", "message": found.message}
    body = stored | {"status": Status.model_validate(status).to_dict()}
    code, answer = control_plane.request("PUT", jobs.path(name, "status"), body)
    assert code == (422 if name == TEXT else 200), answer
    assert jobs.get(name)["status"]["message"] == ("" if name == TEXT else found.message)
    # And it cannot be made worse.
    assert control_plane.request("PATCH", jobs.path(name), {"spec": {"policy": 7}})[0] == 422
    assert control_plane.request("DELETE", jobs.path(name))[0] == 200


def test_a_good_job_of_before_is_read_with_the_defaults_of_today(upgraded: Any) -> None:
    _, jobs, _ = upgraded

    found = read_stored(json.dumps(jobs.get("fine")).encode())

    assert isinstance(found, TrainingJob)
    assert found.spec == TrainingJob.from_dict(GOOD["minimal"]).spec
