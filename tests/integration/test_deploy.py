"""A model is served, or the one before is: real API server, real controllers of Deployments."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell

from .harness import Operator, manifest, operator
from .serving import BAD, BETTER, CORRUPT, DEPLOY, GOOD, Space


def served_digest(deployment: dict[str, Any]) -> str:
    notes = deployment["spec"]["template"]["metadata"]["annotations"]
    return str(notes["trainingjob.dev/model-digest"])


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str) -> Iterator[Space]:
    it = Space(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], 0.05, it.script):
        yield it


# --- with an operator of their own: before that of the others is there --------------------------


def test_an_operator_that_dies_in_mid_rollout_is_followed_by_one_that_ends_it(
    space: Space,
) -> None:
    dying = Operator(space.control_plane.kubeconfig(), [space.name], ["--deploy"])
    try:
        dying.start()
        space.deploy(GOOD)
        wait_for("the Deployment", lambda: space.get("deployments", "digits") is not None)
        dying.kill()
        dying.start(ready=False)
        space.wait("digits", phase="Succeeded")
        space.fates[BAD] = behaviour.crash_loop(json.dumps(CORRUPT))
        space.deploy(BAD)
        wait_for("the new one", lambda: served_digest(space.deployment()) == BAD)
        dying.kill()
        dying.start(ready=False)
        wait_for("the way back", lambda: served_digest(space.deployment()) == GOOD)
        dying.kill()
        dying.start(ready=False)
        status = space.wait("digits", phase="Failed")
    finally:
        dying.kill()
    assert "Traceback" not in dying.log(), dying.log()
    assert (status["reason"], status["deployment"]["phase"]) == ("RolloutFailed", "RolledBack")


def test_without_the_rights_the_job_fails_before_anything_runs(space: Space) -> None:
    with operator(space.control_plane, space.name):
        space.deploy(GOOD)
        status = space.wait("digits", phase="Failed")
    assert status["reason"] == "OperatorForbidden"
    assert "started without --deploy" in status["message"]
    assert space.pods() == []


# --- with one for all ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deploying(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane, arguments=["--deploy"]) as running:
        yield running


def test_a_model_is_served_replaced_scaled_and_outlives_its_job(
    space: Space, deploying: Operator
) -> None:
    space.deploy(GOOD)
    status = space.wait("digits", phase="Succeeded")
    told = status["deployment"]
    assert (told["phase"], told["modelDigest"], told["replicas"]) == (
        "Ready",
        GOOD,
        {"desired": 2, "ready": 2},
    )
    made = space.deployment()
    assert "ownerReferences" not in made["metadata"]
    assert space.get("services", "digits") is not None
    assert space.get("poddisruptionbudgets", "digits") is not None
    first = space.servers()
    assert len(first) == 2

    # Worse: its gate fails, and nobody touches what is served.
    space.score = 0.1
    space.deploy(BAD)
    assert space.wait("digits", reason="GateFailed")["deployment"]["modelDigest"] == GOOD
    assert space.deployment()["metadata"]["generation"] == made["metadata"]["generation"]
    assert space.servers() == first

    # Another one is better; somebody has scaled the old one meanwhile.
    space.score = 0.97
    scale = {"spec": {"replicas": 3}}
    space.patch("deployments", "digits", scale, sub="scale")
    space.deploy(BETTER)
    status = space.wait("digits", phase="Succeeded")
    assert status["deployment"]["previous"]["modelDigest"] == GOOD
    assert (served_digest(space.deployment()), space.deployment()["spec"]["replicas"]) == (
        BETTER,
        3,
    )
    wait_for(
        "the old pods to go", lambda: len(space.servers()) == 3 and not space.servers() & first
    )

    space.delete("trainingjobs", "digits")
    wait_for(
        "its own pods to go", lambda: space.pods() == [p for p in space.pods() if "-1-0" not in p]
    )
    assert len(space.servers()) == 3

    # A job that has no other stage puts an accepted model in its place.
    folder = f"pvc://training/runs/{space.name}/digits/accepted/aaaaaaaaaaaa-00000000"
    deploy = DEPLOY | {"name": "digits", "model": {"uri": folder, "digest": GOOD}}
    rest = dict.fromkeys(("task", "preprocess", "train", "evaluate"))
    space.run(manifest("promote", deploy=deploy, **rest))
    status = space.wait("promote", phase="Succeeded")
    assert status["deployment"]["previous"]["modelDigest"] == BETTER
    assert served_digest(space.deployment()) == GOOD


def test_pods_that_do_not_prove_themselves_bring_back_the_model_before(
    space: Space, deploying: Operator
) -> None:
    space.deploy(GOOD)
    space.wait("digits", phase="Succeeded")
    first = space.servers()
    space.fates[BAD] = behaviour.crash_loop(json.dumps(CORRUPT))
    begun = time.monotonic()
    space.deploy(BAD)
    status = space.wait("digits", phase="Failed")
    tell("a model does not prove itself", time.monotonic() - begun, status)
    assert status["message"].startswith(
        f"ModelCorrupt: model.safetensors is cut off; {GOOD} is served again; "
    )
    assert status["deployment"]["phase"] == "RolledBack"
    assert served_digest(space.deployment()) == GOOD
    # Those that served before were never away.
    assert first <= space.servers()
    wait_for("the new ones to go", lambda: space.servers() == first)


@pytest.mark.nightly
def test_pods_that_are_never_ready_bring_it_back_at_the_deadline(
    space: Space, deploying: Operator
) -> None:
    """Ours, or that of Kubernetes, whose clock is another."""
    space.deploy(GOOD)
    space.wait("digits", phase="Succeeded")
    first = space.servers()
    space.fates[BETTER] = behaviour.unready()
    space.deploy(BETTER, deadlineSeconds=10)
    status = space.wait("digits", phase="Failed")
    assert status["message"].startswith("0 of 2 pods were ready after 10 s; ")
    assert "runs and is not ready" in status["message"]
    assert served_digest(space.deployment()) == GOOD
    assert space.servers() == first


def test_the_first_model_that_fails_leaves_no_pods(space: Space, deploying: Operator) -> None:
    space.fates[BAD] = behaviour.crash_loop(json.dumps(CORRUPT))
    space.deploy(BAD, keep=False)
    status = space.wait("digits", phase="Failed")
    assert status["deployment"]["phase"] == "Failed"
    assert space.deployment()["spec"]["replicas"] == 0
    selector = "trainingjob.dev/stage=deploy"
    wait_for("its pods to go", lambda: space.list("pods", selector) == [])

    # It is the job's own, and goes with it.
    space.delete("trainingjobs", "digits")
    wait_for("the Deployment to go", lambda: space.get("deployments", "digits") is None)
    wait_for("the Service to go", lambda: space.get("services", "digits") is None)


def test_a_name_that_somebody_else_has_is_told(space: Space, deploying: Operator) -> None:
    service = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}
    theirs = space.create("services", {"metadata": {"name": "digits"}, "spec": service})
    space.deploy(GOOD)
    status = space.wait("digits", reason="NameConflict")
    assert "there is a Service digits that is not of this job" in status["message"]
    assert space.get("services", "digits") == theirs
    assert space.get("deployments", "digits") is None
    space.delete("services", "digits")
    space.wait("digits", phase="Succeeded")

    space.deploy(BETTER, "other", name="digits")
    status = space.wait("other", reason="NameConflict")
    assert "job digits holds" in status["message"]
    assert served_digest(space.deployment()) == GOOD
    # When that job is gone, this one goes on with what it has left.
    space.delete("trainingjobs", "digits")
    status = space.wait("other", phase="Succeeded")
    assert status["deployment"]["previous"]["modelDigest"] == GOOD

    # What people have changed by hand is not undone by force.
    image = {"spec": {"template": {"spec": {"containers": [{"name": "deploy", "image": "own:1"}]}}}}
    told = space.control_plane.request(
        "PATCH",
        space.path("deployments", "digits"),
        image,
        content_type="application/strategic-merge-patch+json",
    )
    assert told[0] == 200
    space.deploy(GOOD, "other", name="digits", deployment={"replicas": 2, "image": "ours:1"})
    status = space.wait("other", reason="NameConflict")
    assert "Deployment digits was changed by somebody else" in status["message"]
