"""The pods of one machine: how they begin, and how they are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.wait import wait_for
from trainingjob.core import PodView
from trainingjob.core.diagnose import failure_of
from trainingjob.local.kubelet import Kubelet
from trainingjob.local.node import Node
from trainingjob.local.store import Home

GRACE = 300
LABELS = {
    "trainingjob.dev/stage": "train",
    "trainingjob.dev/attempt": "1",
    "trainingjob.dev/index": "0",
}


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    """With a pod that does not end when it is asked to."""
    node = Node(tmp_path / "claims", {}, {}, {}, lambda: None, tmp_path / "token")
    made = Kubelet(Home(tmp_path / "team" / "digits"), node)
    begun = tmp_path / "begun"
    script = f"trap '' TERM; touch {begun}; while true; do sleep 0.1; done"
    container = {"name": "c", "command": ["sh", "-c", script]}
    spec = {"terminationGracePeriodSeconds": GRACE, "containers": [container]}
    made.create({"metadata": {"name": "p", "labels": LABELS}, "spec": spec})
    try:
        wait_for("the pod to run", begun.exists)
        yield made
    finally:
        made.close()


def gone(kubelet: Kubelet) -> bool:
    kubelet.sync()
    return not kubelet.pods()


def test_a_pod_has_its_grace_period_and_is_not_stuck_in_it(kubelet: Kubelet) -> None:
    kubelet.delete("p")
    (pod,) = kubelet.pods()
    assert pod.delete_by is not None
    left = (pod.delete_by - datetime.now(UTC)).total_seconds()
    assert GRACE - 30 < left <= GRACE
    assert (pod.deleting, pod.held, gone(kubelet)) == (True, False, False)


def test_by_force_it_ends_at_once_whatever_it_does(kubelet: Kubelet) -> None:
    kubelet.delete("p")
    kubelet.delete("p", force=True)
    wait_for("the pod to go", lambda: gone(kubelet))
    assert not kubelet.running


def beforehand(folder: Path, before: str, own: str) -> Kubelet:
    """With a pod of two containers, one after the other."""
    node = Node(folder / "claims", {}, {}, {}, lambda: None, folder / "token")
    made = Kubelet(Home(folder / "team" / "digits"), node)
    result = {"name": "TRAININGJOB_RESULT_FILE"}
    containers = [
        {"name": name, "command": ["sh", "-c", script], "env": [result]}
        for name, script in (("trainingjob-code", before), ("train", own))
    ]
    spec = {
        "terminationGracePeriodSeconds": 30,
        "initContainers": containers[:1],
        "containers": containers[1:],
    }
    made.create({"metadata": {"name": "p", "labels": LABELS}, "spec": spec})
    return made


def settled(kubelet: Kubelet, phase: str) -> PodView:
    def found() -> bool:
        kubelet.sync()
        return kubelet.pods()[0].phase == phase

    wait_for(f"the pod to be {phase}", found)
    return kubelet.pods()[0]


def test_its_own_container_begins_when_the_one_before_has_ended(tmp_path: Path) -> None:
    go, order = tmp_path / "go", tmp_path / "order"
    wait = f"until test -e {go}; do sleep 0.02; done"
    kubelet = beforehand(tmp_path, f"{wait}; echo before >> {order}", f"echo own >> {order}")
    pod = settled(kubelet, "Pending")
    assert (pod.started, order.exists()) == (None, False)
    go.touch()
    assert settled(kubelet, "Succeeded").exit_code == 0
    assert order.read_text().split() == ["before", "own"]


def test_it_does_not_begin_when_that_one_fails_or_the_runner_stops(tmp_path: Path) -> None:
    own = tmp_path / "own"
    report = """printf '{"error":{"reason":"RepositoryInvalid","message":"no commit"}}'"""
    script = f"{report} > $TRAININGJOB_RESULT_FILE; exit 1"
    pod = settled(beforehand(tmp_path / "fails", script, f"touch {own}"), "Failed")
    failure = failure_of(pod)
    assert failure is not None
    assert (failure.reason, failure.message) == ("RepositoryInvalid", "no commit")

    kubelet = beforehand(tmp_path / "stops", "sleep 300", f"touch {own}")
    kubelet.stop("interrupted")
    failure = failure_of(settled(kubelet, "Failed"))
    assert failure is not None and failure.reason == "Disrupted"

    # Of a runner that is stopped between the two.
    kubelet = beforehand(tmp_path / "between", "true", f"touch {own}")
    wait_for("it to end", (tmp_path / "between/team/digits/pods/p/exit-before.json").exists)
    kubelet.stop("interrupted")
    failure = failure_of(settled(kubelet, "Failed"))
    assert failure is not None and failure.reason == "Disrupted"

    # Of a runner that was killed between the two.
    kubelet = beforehand(tmp_path / "killed", "true", f"touch {own}")
    folder = tmp_path / "killed/team/digits/pods/p"
    wait_for("the first to end", (folder / "exit-before.json").exists)
    again = Kubelet(
        Home(tmp_path / "killed/team/digits"),
        Node(tmp_path / "claims", {}, {}, {}, lambda: None, tmp_path / "token"),
    )
    again.recover()
    failure = failure_of(again.pods()[0])
    assert failure is not None and failure.reason == "Disrupted"
    kubelet.close()
    assert not own.exists()
