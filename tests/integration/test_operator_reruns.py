"""Jobs that are run again by their annotation, on a real API server with a fake kubelet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for

from .conftest import Fates
from .harness import Namespace, manifest, operator

ANNOTATION = "trainingjob.dev/rerun"


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str) -> Iterator[Namespace]:
    with operator(control_plane, namespace):
        yield Namespace(control_plane, namespace)


def ask(space: Namespace, value: str) -> None:
    """As `kubectl annotate --overwrite` does."""
    space.patch("trainingjobs", "digits", {"metadata": {"annotations": {ANNOTATION: value}}})


def attempts(status: dict[str, Any]) -> list[int]:
    return [stage["attempt"] for stage in status["stages"]]


def uid(pod: dict[str, Any]) -> str:
    """The run as the pod knows it."""
    env = pod["spec"]["containers"][0]["env"]
    (payload,) = (e["value"] for e in env if e["name"] == "TRAININGJOB_STAGE")
    return str(json.loads(payload)["job"]["uid"])


def test_a_job_that_is_done_trains_again(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-train-2-0"] = behaviour.run()
    space.run(manifest())
    first = space.wait("digits", phase="Succeeded")
    before = space.wait_for_pod("digits-train-1-0")
    kept = space.wait_for_pod("digits-preprocess-1-0")
    ask(space, "train:1")

    status = space.wait("digits", phase="Training", reason="Running", rerun="train:1")
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert (conditions["Complete"], conditions["Reconciling"]) == ("False", "True")
    assert not {"evaluation", "completionTime"} & set(status)
    assert space.pods() == ["digits-preprocess-1-0", "digits-train-2-0", "digits-train-2-1"]
    now = space.wait_for_pod("digits-train-2-0")
    assert uid(before) == space.job("digits")["metadata"]["uid"]
    assert uid(now) != uid(before), "the checkpoints are not its own"

    kubelet.tell("digits-train-2-0", behaviour.succeed(), space.name)
    status = space.wait("digits", phase="Succeeded")
    assert attempts(status) == [1, 2, 2]
    assert status["stages"][0] == first["stages"][0]
    left = space.wait_for_pod("digits-preprocess-1-0")
    assert left["metadata"]["uid"] == kept["metadata"]["uid"]
    assert space.pods() == [
        "digits-evaluate-2-0",
        "digits-preprocess-1-0",
        "digits-train-2-0",
        "digits-train-2-1",
    ]
    told = ["Rerun"]
    wait_for("the Events", lambda: [e["reason"] for e in space.events("digits")] == told)


def test_a_job_that_failed_runs_again_from_its_first_stage(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates["digits-train-1-0"] = behaviour.fail(3)
    space.run(manifest(policy={"retries": {"application": 0}}))
    space.wait("digits", phase="Failed")
    ask(space, "preprocess:7")

    status = space.wait("digits", phase="Succeeded")
    assert attempts(status) == [2, 2, 1]
    assert status["rerun"] == "preprocess:7"
    assert "lastFailure" not in status
    assert [past["reason"] for past in status["history"]] == ["ScriptFailed"]


def test_a_stage_that_runs_is_ended_and_begins_anew(
    space: Namespace, kubelet: FakeKubelet, fates: Fates
) -> None:
    fates |= {f"digits-train-1-{index}": behaviour.run(grace=0.5) for index in range(2)}
    space.run(manifest())
    space.wait("digits", phase="Training", reason="Running")
    ask(space, "train:1")

    status = space.wait("digits", phase="Succeeded")
    assert attempts(status) == [1, 2, 1]
    assert [(p["attempt"], p["reason"]) for p in status["history"]] == [(1, "Rerun")]
    assert not any(status["stages"][1]["failures"].values())


def test_a_value_that_is_no_request_is_told_once(space: Namespace, kubelet: FakeKubelet) -> None:
    space.run(manifest())
    before = space.wait("digits", phase="Succeeded")
    ask(space, "deploy:1")

    assert space.wait("digits", rerun="deploy:1") == before | {"rerun": "deploy:1"}
    told = ["RerunInvalid"]
    wait_for("the Events", lambda: [e["reason"] for e in space.events("digits")] == told)
    ask(space, "evaluate:1")
    status = space.wait("digits", phase="Succeeded", rerun="evaluate:1")
    assert attempts(status) == [1, 1, 2]


@pytest.mark.parametrize(
    ("what", "reached"),
    [
        ("before it has seen it", lambda space: True),
        ("once status has it", lambda space: space.status("digits").get("rerun")),
        ("once the new pods are there", lambda space: "digits-train-2-1" in space.pods()),
    ],
)
def test_a_request_is_acted_on_once_whenever_the_operator_dies(
    control_plane: ControlPlane,
    namespace: str,
    kubelet: FakeKubelet,
    what: str,
    reached: Callable[[Namespace], Any],
) -> None:
    space = Namespace(control_plane, namespace)
    with operator(control_plane, namespace) as running:
        space.run(manifest())
        space.wait("digits", phase="Succeeded")
        ask(space, "train:1")
        wait_for(what, lambda: reached(space))
        running.kill()
        running.start()
        status = space.wait("digits", phase="Succeeded", rerun="train:1")
    assert attempts(status) == [1, 2, 2]
