"""Deletion, resizing in a queue and the longest names, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell

from .harness import Namespace, Operator, gang, manifest, operator

FINALIZER = "queue.test/managed-job"


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane) as running:
        yield running


@pytest.fixture
def space(control_plane: ControlPlane, served: Operator, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


def keep(space: Namespace, name: str, *finalizers: str) -> None:
    space.patch("trainingjobs", name, {"metadata": {"finalizers": [*finalizers] or None}})


def test_a_deleted_job_that_a_finalizer_keeps_stops_its_pods_and_says_so(
    space: Namespace, served: Operator
) -> None:
    with FakeKubelet(space.control_plane, [space.name], script=lambda _: behaviour.run(0.5)):
        space.run(gang(2))
        space.wait("gang", phase="Training", reason="Running")
        keep(space, "gang", FINALIZER)
        begun = time.monotonic()
        space.delete("trainingjobs", "gang")
        status = space.wait("gang", phase="Deleting")
        tell("a deleted job that a finalizer keeps", time.monotonic() - begun, status)
        assert f"removes them: {FINALIZER}" in status["message"]
        wait_for("its pods to be gone", lambda: space.pods() == [])

        def settled() -> bool:
            conditions = {c["type"]: c["status"] for c in space.status("gang")["conditions"]}
            return conditions["Reconciling"] == "False"

        wait_for("it to be at rest", settled)
        assert space.stage("gang", "train")["failures"]["infrastructure"] == 0
        keep(space, "gang")
        wait_for("it to be gone", lambda: space.get("trainingjobs", "gang") is None)
    assert "Traceback" not in served.log()


@pytest.mark.parametrize("how", ["Foreground", "Orphan"])
def test_a_job_that_is_deleted_otherwise_leaves_pods_only_if_that_is_asked_for(
    space: Namespace, how: str
) -> None:
    with FakeKubelet(space.control_plane, [space.name], script=lambda _: behaviour.run(0.2)):
        space.run(gang(2))
        space.wait("gang", phase="Training", reason="Running")
        space.delete("trainingjobs", "gang", propagationPolicy=how)
        wait_for("it to be gone", lambda: space.get("trainingjobs", "gang") is None)
        if how == "Foreground":
            wait_for("its pods to be gone", lambda: space.pods() == [])
        else:  # as was asked for
            assert not any("deletionTimestamp" in p["metadata"] for p in space.list("pods"))
            assert len(space.pods()) == 2


def test_a_job_that_is_made_anew_waits_for_what_its_predecessor_has_left(space: Namespace) -> None:
    """The API server has pods by name, and the garbage collector may not be through yet."""
    with FakeKubelet(space.control_plane, [space.name], script=lambda _: behaviour.run(0.2)) as k:
        space.run(gang(1))
        space.wait("gang", phase="Training", reason="Running")
        pod = space.get("pods", "gang-train-1-0")
        space.patch("pods", "gang-train-1-0", {"metadata": {"finalizers": [FINALIZER]}})
        space.delete("trainingjobs", "gang")
        wait_for("it to be gone", lambda: space.get("trainingjobs", "gang") is None)
        space.run(gang(1))
        status = space.wait("gang", reason="NameConflict")
        assert "Pod gang-train-1-0 that is of an earlier TrainingJob" in status["message"]
        assert "it goes by itself in a moment" in status["message"]
        space.patch("pods", "gang-train-1-0", {"metadata": {"finalizers": None}})
        space.wait("gang", phase="Training", reason="Running")
        again = space.get("pods", "gang-train-1-0")
        assert pod and again and pod["metadata"]["uid"] != again["metadata"]["uid"]
        k.tell("gang-train-1-0", behaviour.succeed(0.0), space.name)
        space.wait("gang", phase="Succeeded")


def test_a_pod_that_has_ended_and_that_a_finalizer_keeps_holds_up_no_other(
    space: Namespace,
) -> None:
    """As a queue's does that was slow, or is gone."""
    with FakeKubelet(space.control_plane, [space.name], script=lambda _: behaviour.run(0.2)) as k:
        space.run(gang(1))
        space.wait("gang", phase="Training", reason="Running")
        space.patch("pods", "gang-train-1-0", {"metadata": {"finalizers": [FINALIZER]}})
        k.tell("gang-train-1-0", behaviour.die(), space.name)
        wait_for("another attempt", lambda: "gang-train-2-0" in space.pods())
        k.tell("gang-train-2-0", behaviour.succeed(0.0), space.name)
        status = space.wait("gang", phase="Succeeded")
        assert status["stages"][0]["attempt"] == 2
        kept = space.get("pods", "gang-train-1-0")
        assert kept is not None and "deletionTimestamp" in kept["metadata"]
        space.patch("pods", "gang-train-1-0", {"metadata": {"finalizers": None}})
        wait_for("it to be gone", lambda: "gang-train-1-0" not in space.pods())


def test_a_queue_gives_a_job_other_nodes_and_lets_it_go_in_one_update(space: Namespace) -> None:
    with FakeKubelet(space.control_plane, [space.name], 0.05):
        job = gang(4)
        job["spec"]["suspend"] = True
        space.run(job)
        space.wait("gang", phase="Suspended")
        template = {"nodeSelector": {"pool": "spot"}}
        train = {"nodes": 2, "template": template}
        space.patch("trainingjobs", "gang", {"spec": {"suspend": False, "train": train}})
        space.wait("gang", phase="Succeeded")
        pods = space.list("pods")
        assert [pod["metadata"]["name"] for pod in pods] == ["gang-train-1-0", "gang-train-1-1"]
        assert all(pod["spec"]["nodeSelector"] == {"pool": "spot"} for pod in pods)


def test_a_job_of_the_longest_name_runs(space: Namespace) -> None:
    name = "n" * 62 + "9"
    with FakeKubelet(space.control_plane, [space.name], 0.05):
        space.create("serviceaccounts", {"metadata": {"name": "trainingjob-spark"}})
        spark = manifest()["spec"]["preprocess"] | {"engine": "spark"}
        space.run(manifest(name, preprocess=spark))
        space.wait(name, phase="Succeeded")
        (service,) = space.list("services", f"trainingjob.dev/job={name}")
        assert len(service["metadata"]["name"]) == 63
        policies = space.list("networkpolicies", f"trainingjob.dev/job={name}")
        assert [len(policy["metadata"]["name"]) for policy in policies] == [63]
        pods = [p for p in space.list("pods") if "-train-" in p["metadata"]["name"]]
        address = f"{service['metadata']['name']}.{space.name}.svc"
        for pod in pods:
            env = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
            assert env["MASTER_ADDR"] == address
