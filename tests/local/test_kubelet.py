"""The pods of one machine: how they are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.wait import wait_for
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
