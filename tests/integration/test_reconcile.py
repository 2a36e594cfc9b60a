"""One reconciliation upon what the cache knows, where that is less than the API server does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from trainingjob.cluster import JOBS, Api, Cache, Credentials, Gateway
from trainingjob.controller.metrics import Metrics
from trainingjob.controller.progress import Reports
from trainingjob.controller.reconcile import Reconciler
from trainingjob.core import Settings

from .harness import Namespace, gang, operator


async def reconcile_knowing_only(job: dict[str, Any], kubeconfig: Path) -> None:
    """As an operator to which the watch of jobs has spoken first."""
    credentials = await Credentials.load(kubeconfig)
    async with credentials.session() as session:
        gateway = Gateway(Api(credentials.server, session, lambda *_: None))
        cache = Cache()
        key = cache.apply(JOBS, job)
        assert key is not None
        await Reconciler(cache, gateway, Settings(), Metrics(), Reports()).reconcile(key)


@pytest.mark.parametrize("lost", [False, True], ids=["unseen", "lost"])
def test_pods_that_are_not_seen_yet_are_not_taken_for_lost(
    control_plane: ControlPlane, namespace: str, lost: bool
) -> None:
    """Two operators at once: the other one's status can be here before its pods are."""
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [space.name], 0.05, lambda _: behaviour.run()):
        with operator(control_plane, space.name):
            space.run(gang(2))
            space.wait("gang", reason="Running")
        if lost:
            space.delete("pods", "gang-train-1-1")
            wait_for("the pod to go", lambda: space.pods() == ["gang-train-1-0"])
        asyncio.run(reconcile_knowing_only(space.job("gang"), control_plane.kubeconfig()))
    status = space.status("gang")
    assert status["stages"][0]["attempt"] == (2 if lost else 1)
    assert status.get("lastFailure", {}).get("reason") == ("PodLost" if lost else None)
