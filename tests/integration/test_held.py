"""What is true stays true whoever writes into status, and a pod stays ours without its label: on a
real API server."""

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

LABEL = "trainingjob.dev/job"


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane) as running:
        yield running


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


@pytest.fixture
def kubelet(space: Namespace) -> Iterator[FakeKubelet]:
    with FakeKubelet(
        space.control_plane, [space.name], script=lambda _: behaviour.run()
    ) as running:
        yield running


def train(space: Namespace) -> list[str]:
    """A gang that trains; the uids of its pods."""
    space.run(gang(2))
    space.wait("gang", phase="Training", reason="Running")
    return sorted(pod["metadata"]["uid"] for pod in space.list("pods"))


def unlabel(space: Namespace, name: str) -> None:
    space.patch("pods", name, {"metadata": {"labels": {LABEL: None}}})


def finish(space: Namespace, kubelet: FakeKubelet) -> None:
    for index in range(2):
        kubelet.tell(f"gang-train-1-{index}", behaviour.succeed(), space.name)
    space.wait("gang", phase="Succeeded")
    assert space.stage("gang", "train")["attempt"] == 1


def test_a_pod_whose_label_was_taken_off_goes_on_and_has_no_second_beside_it(
    space: Namespace, served: Operator, kubelet: FakeKubelet
) -> None:
    before = train(space)
    unlabel(space, "gang-train-1-0")
    wait_for("it to be noticed", lambda: "pod gang-train-1-0 has lost the label" in served.log())
    assert sorted(pod["metadata"]["uid"] for pod in space.list("pods")) == before
    finish(space, kubelet)


@pytest.mark.nightly
def test_one_of_an_attempt_before_is_waited_for(space: Namespace, served: Operator) -> None:
    """It was deleted, and then nobody saw it end."""
    stuck = behaviour.stuck()
    with FakeKubelet(
        space.control_plane, [space.name], script=lambda _: stuck, bind=True
    ) as kubelet:
        train(space)
        space.patch("trainingjobs", "gang", {"spec": {"suspend": True}})
        wait_for(
            "its end to begin",
            lambda: all("deletionTimestamp" in p["metadata"] for p in space.list("pods")),
        )
        unlabel(space, "gang-train-1-1")
        space.patch("trainingjobs", "gang", {"spec": {"suspend": False}})
        kubelet.tell("gang-train-1-0", behaviour.run(), space.name)
        wait_for("the other to be gone", lambda: space.pods() == ["gang-train-1-1"])
        wait_for("it to be noticed", lambda: "pod gang-train-1-1 has lost" in served.log())
        assert space.pods() == ["gang-train-1-1"]
        kubelet.tell("gang-train-1-1", behaviour.run(), space.name)
        space.wait_for_pod("gang-train-2-1")
    assert "Traceback" not in served.log()


def test_one_is_found_by_an_operator_that_starts(space: Namespace, kubelet: FakeKubelet) -> None:
    with operator(space.control_plane, space.name):
        before = train(space)
    unlabel(space, "gang-train-1-1")
    change = {"metadata": {"labels": {LABEL: "another", "trainingjob.dev/index": "9"}}}
    space.patch("pods", "gang-train-1-0", change)
    with operator(space.control_plane, space.name) as running:
        wait_for("it to be noticed", lambda: "train-1-1 has lost the label" in running.log())
        assert sorted(pod["metadata"]["uid"] for pod in space.list("pods")) == before
        finish(space, kubelet)


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"phase": "Succeeded", "reason": "Completed"}},
        {"status": {"phase": "Failed", "completionTime": "2020-01-01T00:00:00Z"}},
        {"status": None},
    ],
    ids=["as succeeded", "as failed", "erased"],
)
def test_a_status_that_somebody_has_written_is_not_believed(
    space: Namespace, served: Operator, kubelet: FakeKubelet, change: dict[str, object]
) -> None:
    before = train(space)
    space.patch("trainingjobs", "gang", change, "status")
    begun = time.monotonic()
    status = space.wait("gang", phase="Training", reason="Running")
    tell("somebody writes into status", time.monotonic() - begun, status)
    assert sorted(pod["metadata"]["uid"] for pod in space.list("pods")) == before
    assert not [event for event in space.events("gang") if event["type"] == "Warning"]
    finish(space, kubelet)


def test_a_job_whose_status_was_erased_when_its_pods_were_gone_ends_as_before(
    space: Namespace, served: Operator
) -> None:
    with FakeKubelet(space.control_plane, [space.name], 0.05):
        space.run(manifest(policy={"cleanPods": "always"}))
        first = space.wait("digits", phase="Succeeded")
        wait_for("its pods to be gone", lambda: space.pods() == [])
        space.patch("trainingjobs", "digits", {"status": None}, "status")
        wait_for("it to begin anew", lambda: space.status("digits").get("phase") != "Succeeded")
        again = space.wait("digits", phase="Succeeded")
    assert again["evaluation"] == first["evaluation"]
    assert [s["outputs"] for s in again["stages"]] == [s["outputs"] for s in first["stages"]]
