"""The operator may die, be stopped or lose the API server at any moment."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for

from .harness import Namespace, Operator, gang, manifest, operator

# Long enough that a kill hits every stage, short enough for some of them.
POD_SECONDS = 0.25


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str) -> Namespace:
    return Namespace(control_plane, namespace)


class Seen:
    """A fake kubelet's script that remembers the pods it was shown."""

    def __init__(self, fates: dict[str, Behaviour] | None = None) -> None:
        self.fates = fates or {}
        self.names: list[str] = []

    def __call__(self, pod: dict[str, Any]) -> Behaviour:
        self.names.append(pod["metadata"]["name"])
        return self.fates.get(pod["metadata"]["name"], behaviour.succeed())


def outcome(status: dict[str, Any]) -> object:
    """What must not depend on when the operator was killed."""
    stages = [
        (stage["name"], stage["phase"], stage["attempt"], stage["failures"], stage.get("outputs"))
        for stage in status["stages"]
    ]
    last = status.get("lastFailure") or {}
    failure = {key: last.get(key) for key in ("stage", "attempt", "reason", "pod", "exitCode")}
    return status["phase"], status["reason"], stages, failure, status["evaluation"]["metrics"]


@pytest.fixture(scope="module")
def undisturbed(control_plane: ControlPlane) -> Iterator[tuple[object, list[str]]]:
    """How the job ends, and with which pods, when nobody disturbs it."""
    space = Namespace(control_plane, control_plane.namespace())
    seen = Seen(FATES)
    with (
        FakeKubelet(control_plane, [space.name], POD_SECONDS, seen),
        operator(control_plane, space.name),
    ):
        space.run(manifest())
        yield outcome(space.wait("digits", phase="Succeeded")), sorted(seen.names)
    space.control_plane.request("DELETE", f"/api/v1/namespaces/{space.name}")


# A failure in the middle, so that the writes of a restart are hit, too.
FATES = {
    "digits-train-1-0": behaviour.run(),
    "digits-train-1-1": behaviour.fail(3, after=POD_SECONDS),
    # Rank 0 is never done before the others have come: the operator may die between the two.
    "digits-train-2-0": behaviour.succeed(meets="digits-train-2-1"),
}


# Before and after each write it is killed by tests/faults, too.
MOMENTS = [
    pytest.param(seed, marks=[pytest.mark.nightly] if seed >= 8 else []) for seed in range(30)
]


@pytest.mark.parametrize("seed", MOMENTS)
def test_sigkill_at_any_moment_changes_nothing_and_makes_nothing_twice(
    space: Namespace, undisturbed: tuple[object, list[str]], seed: int
) -> None:
    """Deletion of a pod takes no time here, so attempts follow each other at once."""
    expected, pods = undisturbed
    seen = Seen(FATES)
    rolls = random.Random(seed)
    with FakeKubelet(space.control_plane, [space.name], POD_SECONDS, seen):
        killed = Operator(space.control_plane.kubeconfig(), [space.name])
        try:
            killed.start()
            space.run(manifest())
            time.sleep(rolls.uniform(0.0, 6 * POD_SECONDS))
            killed.kill()
            killed.start(ready=False)
            status = space.wait("digits", phase="Succeeded")
        finally:
            killed.kill()

    assert "Traceback" not in killed.log(), killed.log()
    assert sorted(seen.names) == pods
    assert _without_namespace(outcome(status)) == _without_namespace(expected)


def _without_namespace(found: object) -> str:
    """Artefacts lie below the namespace, which is another in each test."""
    words = str(found).split("/")
    return "/".join("NAMESPACE" if word.startswith("t-") else word for word in words)


@pytest.mark.parametrize("seed", range(4))
def test_a_job_deleted_while_the_operator_is_down_leaves_nothing(
    space: Namespace, seed: int
) -> None:
    stage = ("preprocess", "train", "train", "evaluate")[seed]
    fates = {f"digits-{stage}-1-0": behaviour.run(grace=0.1)}
    with FakeKubelet(space.control_plane, [space.name], 0.05, Seen(fates)):
        down = Operator(space.control_plane.kubeconfig(), [space.name])
        try:
            down.start()
            space.run(manifest())
            wait_for(stage, lambda: space.stage("digits", stage).get("phase") == "Running")
        finally:
            down.kill()
        space.delete("trainingjobs", "digits")
        wait_for("no job", lambda: not space.list("trainingjobs"))
        wait_for("no child", lambda: not space.pods() and not space.list("services"))


def test_sigterm_ends_it_at_once_with_zero_and_the_next_one_goes_on(space: Namespace) -> None:
    with FakeKubelet(space.control_plane, [space.name], 1.0, Seen()):
        stopped = Operator(space.control_plane.kubeconfig(), [space.name])
        try:
            stopped.start()
            space.run(manifest())
            space.wait("digits", phase="Preprocessing")
            begun = time.monotonic()
            assert stopped.stop() == 0
            assert time.monotonic() - begun < 20  # a pod has 30
            stopped.start()
            space.wait("digits", phase="Succeeded")
        finally:
            stopped.kill()


def test_pods_that_vanish_while_the_operator_is_down_are_noticed(space: Namespace) -> None:
    fates = {f"gang-train-1-{index}": behaviour.run() for index in range(2)}
    with FakeKubelet(space.control_plane, [space.name], 0.05, Seen(fates)):
        down = Operator(space.control_plane.kubeconfig(), [space.name])
        try:
            down.start()
            space.run(gang(2))
            space.wait("gang", reason="Running")
            down.kill()
            space.delete("pods", "gang-train-1-1")
            wait_for("the pod to go", lambda: space.pods() == ["gang-train-1-0"])
            down.start(ready=False)
            status = space.wait("gang", phase="Succeeded")
        finally:
            down.kill()
    assert status["lastFailure"]["reason"] == "PodLost"
    assert status["stages"][0]["attempt"] == 2


def test_a_stopped_process_that_wakes_up_late_does_no_harm(space: Namespace) -> None:
    """Its cache is old by then: writes on top of it must not pass."""
    with FakeKubelet(space.control_plane, [space.name], POD_SECONDS, seen := Seen()):
        sleeper = Operator(space.control_plane.kubeconfig(), [space.name])
        try:
            sleeper.start()
            space.run(manifest())
            wait_for("a pod", lambda: bool(seen.names))
            sleeper.signal(signal.SIGSTOP)
            with operator(space.control_plane, space.name):
                space.wait("digits", phase="Succeeded")
            before = space.job("digits")["status"]
            sleeper.signal(signal.SIGCONT)
            wait_for("the sleeper to see it", lambda: _jobs(sleeper, "Succeeded") == 1)
        finally:
            sleeper.kill()
    assert space.job("digits")["status"] == before
    assert len(seen.names) == len(set(seen.names)) == 4


def _jobs(running: Operator, phase: str) -> float:
    return running.metric("trainingjob_jobs", phase=phase)


def test_two_operators_at_once_make_no_child_twice(space: Namespace) -> None:
    """As in an upgrade that overlaps, which the chart's strategy does not do."""
    with (
        FakeKubelet(space.control_plane, [space.name], 0.05, seen := Seen()),
        operator(space.control_plane, space.name),
        operator(space.control_plane, space.name),
    ):
        for number in range(5):
            space.run(manifest(f"job-{number}"))
        for number in range(5):
            space.wait(f"job-{number}", phase="Succeeded")
    assert len(seen.names) == len(set(seen.names)) == 20


def test_an_outage_of_the_api_server_is_survived() -> None:
    with ControlPlane(crd=True) as alone:
        space = Namespace(alone, alone.namespace())
        fates = {f"gang-train-1-{index}": behaviour.run() for index in range(2)}
        with (
            FakeKubelet(alone, [space.name], 0.3, Seen(fates)) as kubelet,
            operator(alone, space.name) as survivor,
        ):
            for number in range(3):
                space.run(manifest(f"job-{number}"))
            space.run(gang(2))
            space.wait("gang", reason="Running")
            alone.stop_apiserver()
            wait_for("a failed call", lambda: survivor.http("/healthz")[0] == 200)
            time.sleep(2)  # the length of the outage
            alone.start_apiserver()
            for index in range(2):
                kubelet.tell(f"gang-train-1-{index}", behaviour.succeed(), space.name)
            for name in ("job-0", "job-1", "job-2", "gang"):
                status = space.wait(name, phase="Succeeded")
                assert {stage["attempt"] for stage in status["stages"]} == {1}
            assert survivor.http("/readyz")[0] == 200


def test_it_waits_for_an_api_server_and_a_crd_that_are_not_there_yet() -> None:
    with ControlPlane() as alone:
        early = Operator(alone.kubeconfig())
        try:
            early.start(ready=False)
            wait_for("it to be alive", lambda: early.http("/healthz")[0] == 200)
            code, why = early.http("/readyz")
            assert (code, "not complete yet" in why) == (503, True)
            alone.install_crd()
            early.wait_until_ready()
            space = Namespace(alone, alone.namespace())
            with FakeKubelet(alone, [space.name], 0.05):
                space.run(manifest())
                space.wait("digits", phase="Succeeded")
        finally:
            early.kill()


def test_it_serves_the_namespaces_that_it_is_given_and_no_others(
    control_plane: ControlPlane, space: Namespace
) -> None:
    others = [Namespace(control_plane, control_plane.namespace()) for _ in range(2)]
    names = [space.name, others[0].name]
    with (
        FakeKubelet(control_plane, [*names, others[1].name], 0.05),
        operator(control_plane, *names),
    ):
        for each in (space, *others):
            each.run(manifest())
        space.wait("digits", phase="Succeeded")
        others[0].wait("digits", phase="Succeeded")
    assert others[1].status("digits")["observedGeneration"] == 0
    assert others[1].pods() == []


def test_jobs_from_many_threads_all_end(space: Namespace) -> None:
    with (
        FakeKubelet(space.control_plane, [space.name], 0.1),
        operator(space.control_plane, space.name),
    ):
        threads = [
            threading.Thread(target=space.run, args=(gang(3, f"job-{number}"),))
            for number in range(30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(30):
            space.wait(f"job-{number}", phase="Succeeded")
    assert len(space.pods()) == 90
