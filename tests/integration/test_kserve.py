"""Models are served by KServe: its own CRD, real controllers of Deployments, and a stand-in for its
controller (tests/cluster/kserve.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.kserve import CONTAINER, STOP, Controller, crd
from tests.cluster.wait import wait_for
from tests.tables import tell
from tests.unit.api.corpus import GOOD as MANIFESTS
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages

from .harness import Operator, gang
from .serving import BAD, BETTER, CORRUPT, GOOD, Space

WAY: dict[str, Any] = {"kserve": {"minReplicas": 2}, "deadlineSeconds": 60}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io"


def install(control_plane: ControlPlane) -> None:
    # Too large for an annotation, and for YAML as Python reads it.
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", crd())
    served = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
    wait_for("it to be served", lambda: control_plane.request("GET", served)[0] == 200)


def remove(control_plane: ControlPlane) -> None:
    control_plane.request("DELETE", CRDS)
    wait_for("the CRD to go", lambda: control_plane.request("GET", CRDS)[0] == 404)


@pytest.fixture(scope="module")
def serving(control_plane: ControlPlane) -> Iterator[Operator]:
    """It begins before KServe is there."""
    remove(control_plane)
    arguments = ["--deploy", "--kserve"]
    made = Operator(control_plane.kubeconfig(), [], arguments, {"list_seconds": 0.5})
    try:
        yield made.start()
    finally:
        made.kill()
        remove(control_plane)
    assert "Traceback" not in made.log(), made.log()


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str, serving: Operator) -> Iterator[Space]:
    install(control_plane)
    wait_for("the operator to see it", lambda: _sees(serving, there=True))
    it = Space(control_plane, namespace, WAY)
    with (
        FakeKubelet(control_plane, [namespace], 0.05, it.script),
        Controller(control_plane, namespace),
    ):
        yield it


def service(space: Space, name: str = "digits") -> dict[str, Any]:
    found = space.get("inferenceservices", name)
    assert found is not None
    return found


def digest_of(found: dict[str, Any]) -> str:
    return str(found["spec"]["predictor"]["annotations"]["trainingjob.dev/model-digest"])


def test_kserve_may_come_and_go_and_nobody_else_waits_for_it(
    control_plane: ControlPlane, namespace: str, serving: Operator
) -> None:
    remove(control_plane)
    space = Space(control_plane, namespace, WAY)
    with FakeKubelet(control_plane, [namespace], 0.05, space.script):
        wait_for("the operator to see it", lambda: _sees(serving, there=False))
        space.deploy(GOOD)
        status = space.wait("digits", phase="Failed")
        tell("KServe is not installed", 0, status)
        assert status["reason"] == "KServeMissing"
        assert space.pods() == []
        space.run(gang(1, "other"))
        space.wait("other", phase="Succeeded")
        install(control_plane)
        with Controller(control_plane, namespace):
            wait_for("the operator to see it", lambda: _sees(serving, there=True))
            space.deploy(GOOD)
            space.wait("digits", phase="Succeeded")


def _sees(serving: Operator, *, there: bool) -> bool:
    last = [line for line in serving.log().splitlines() if "KServe is " in line][-1:]
    return ("KServe is there" in last[0]) is there if last else not there


def test_a_model_is_served_replaced_and_outlives_its_job(space: Space) -> None:
    space.deploy(GOOD)
    status = space.wait("digits", phase="Succeeded")
    told = status["deployment"]
    assert (told["phase"], told["kind"], told["modelDigest"], told["replicas"]) == (
        "Ready",
        "InferenceService",
        GOOD,
        {"desired": 2, "ready": 2},
    )
    assert told["endpoint"] == f"http://digits-{space.name}.example.com/v2/models/digits"
    made = space.get("deployments", "digits-predictor")
    assert made is not None
    first = space.servers()
    assert len(first) == 2

    # That it was marked as proven, and what was remembered, has not touched its pods.
    assert "trainingjob.dev/proven" in service(space)["metadata"]["annotations"]
    assert made["metadata"]["generation"] == 1

    space.score = 0.1
    space.deploy(BAD)
    assert space.wait("digits", reason="GateFailed")["deployment"]["modelDigest"] == GOOD
    assert space.servers() == first

    space.score = 0.97
    space.deploy(BETTER)
    status = space.wait("digits", phase="Succeeded")
    assert status["deployment"]["previous"]["modelDigest"] == GOOD
    assert digest_of(service(space)) == BETTER
    wait_for(
        "the old pods to go", lambda: len(space.servers()) == 2 != len(space.servers() & first)
    )
    space.delete("trainingjobs", "digits")
    wait_for("the job to go", lambda: space.get("trainingjobs", "digits") is None)
    assert len(space.servers()) == 2


def test_pods_that_do_not_prove_themselves_bring_back_the_model_before(space: Space) -> None:
    space.deploy(GOOD)
    space.wait("digits", phase="Succeeded")
    first = space.servers()
    space.fates[BAD] = behaviour.crash_loop(json.dumps(CORRUPT))
    space.deploy(BAD)
    status = space.wait("digits", phase="Failed")
    assert status["message"].startswith(
        f"ModelCorrupt: model.safetensors is cut off; {GOOD} is served again; "
    )
    assert status["deployment"]["phase"] == "RolledBack"
    assert digest_of(service(space)) == GOOD
    assert first <= space.servers()
    wait_for("the new ones to go", lambda: space.servers() == first)


def test_the_first_model_that_fails_leaves_no_pods(space: Space) -> None:
    space.fates[BAD] = behaviour.crash_loop(json.dumps(CORRUPT))
    space.deploy(BAD, keep=False)
    status = space.wait("digits", phase="Failed")
    assert status["deployment"]["phase"] == "Failed"
    assert service(space)["metadata"]["annotations"][STOP] == "true"
    wait_for("its pods to go", lambda: space.list("pods", "trainingjob.dev/stage=deploy") == [])
    # It is the job's own, and goes with it.
    (owner,) = service(space)["metadata"]["ownerReferences"]
    assert owner["uid"] == space.job("digits")["metadata"]["uid"]


def test_a_name_that_somebody_else_has_is_told(space: Space) -> None:
    theirs = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "digits", "annotations": {STOP: "true"}},
        "spec": {"predictor": {"containers": [{"name": CONTAINER, "image": "theirs:1"}]}},
    }
    space.create("inferenceservices", theirs)
    space.deploy(GOOD)
    status = space.wait("digits", reason="NameConflict")
    assert "there is an InferenceService digits that is not of this job" in status["message"]
    assert service(space)["spec"] == theirs["spec"]
    space.delete("inferenceservices", "digits")
    space.wait("digits", phase="Succeeded")

    space.deploy(BETTER, "other", name="digits")
    status = space.wait("other", reason="NameConflict")
    assert "job digits holds" in status["message"]
    assert digest_of(service(space)) == GOOD


EVERY_FIELD = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "schedulerName": "volcano",
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "imagePullSecrets": [{"name": "registry"}],
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpus", "request": "one"}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "scratch": {"size": "1Gi", "storageClassName": "fast"},
    "terminationGracePeriodSeconds": 60,
    "labels": {"team": "ml"},
    "annotations": {"note": "x"},
}


def variants() -> dict[str, dict[str, Any]]:
    found = {name: obj for name, obj in MANIFESTS.items() if "kserve" in name}
    whole = json.loads(json.dumps(found["deploy-kserve"]))
    whole["spec"]["deploy"]["kserve"]["template"] = EVERY_FIELD
    runtime = json.loads(json.dumps(found["deploy-kserve-runtime"]))
    runtime["spec"]["deploy"]["kserve"] |= {
        "template": EVERY_FIELD,
        "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "c"}}],
    }
    return found | {"whole": whole, "whole runtime": runtime}


@pytest.mark.parametrize("name", variants())
def test_kserves_own_crd_knows_all_that_is_applied(space: Space, name: str) -> None:
    obj = json.loads(json.dumps(variants()[name]))
    obj["metadata"]["namespace"] = space.name
    job = TrainingJob.from_dict(obj)
    settings = Settings(deploys=True, kserve="there")
    (made,) = stages.named("deploy").others(job, settings)
    path = space.path("inferenceservices", made["metadata"]["name"])
    query = "?dryRun=All&fieldManager=tests&fieldValidation=Strict"
    status, answer = space.control_plane.request(
        "PATCH", path + query, made, content_type="application/apply-patch+yaml"
    )
    assert status == 201, answer
    assert answer["spec"] == made["spec"]
