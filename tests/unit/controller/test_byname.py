"""Pods that are read by their names: what is not the job's own is asked for once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.unit.core.world import World, running, world
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cluster import PODS, Cache, Gateway
from trainingjob.controller.byname import ByName
from trainingjob.controller.lanes import Lanes
from trainingjob.core import Settings
from trainingjob.core.names import LABEL_JOB

from .test_reconcile import KEY, Server, reconciler

NAME = "digits-train-1-0"
SIGNATURE = "trainingjob.dev/signature"


class Holds(Server):
    """An API server that has this pod, and counts who asks for it."""

    def __init__(self, pod: dict[str, Any] | None) -> None:
        super().__init__()
        self.pod_there, self.asked = pod, 0

    async def pod(self, _namespace: str, name: str) -> dict[str, Any] | None:
        self.asked += name == NAME
        return self.pod_there if name == NAME else None


def training() -> World:
    """Both ranks run; their pods are signed."""
    w = world()
    w.settings = Settings(signing_key=b"ours")
    w.finish("preprocess")
    for pod in w.pods.values():
        if pod["metadata"]["labels"]["trainingjob.dev/stage"] == "train":
            running(pod, w.seconds)
    w.settle()
    return w


def bare(w: World) -> dict[str, Any]:
    """The pod of rank 0, without the label by which it is watched."""
    pod = w.pods[NAME]
    meta = pod["metadata"] | {"namespace": "team", "resourceVersion": "5"}
    meta["labels"] = {k: v for k, v in meta["labels"].items() if k != LABEL_JOB}
    return pod | {"metadata": meta}


def forged(pod: dict[str, Any]) -> dict[str, Any]:
    return pod | {"metadata": pod["metadata"] | {"annotations": {SIGNATURE: "bm8="}}}


def strangers(pod: dict[str, Any]) -> dict[str, Any]:
    return pod | {"metadata": pod["metadata"] | {"ownerReferences": []}}


@pytest.mark.parametrize(
    ("change", "but", "ours"),
    [
        pytest.param(lambda pod: pod, (), True, id="it has lost its label alone"),
        pytest.param(forged, (), False, id="nobody but we has the key of the signature"),
        pytest.param(strangers, (), False, id="it is somebody else's"),
        pytest.param(lambda pod: pod, (f"uid-{NAME}",), False, id="it is on its way out"),
        pytest.param(lambda _: None, (), False, id="there is none"),
    ],
)
async def test_what_counts_is_kept_and_all_else_is_forgotten(
    change: Any, but: tuple[str, ...], ours: bool
) -> None:
    w = training()
    cache, server = Cache(), Holds(change(bare(w)))
    by_name = ByName(cache, cast("Gateway", server), b"ours", Lanes())
    job = TrainingJob.from_dict(w.manifest)
    assert await by_name.find(KEY, job, [NAME, "digits-train-1-1"], but) is ours
    assert cache.unwatched(KEY, "uid-1") == ([NAME] if ours else [])


async def test_one_that_counts_no_more_is_no_more_asked_for() -> None:
    w = training()
    cache, server = Cache(), Holds(bare(w))
    by_name = ByName(cache, cast("Gateway", server), b"ours", Lanes())
    job = TrainingJob.from_dict(w.manifest)
    assert await by_name.find(KEY, job, [NAME], ())
    assert server.pod_there is not None
    server.pod_there = forged(server.pod_there)
    assert not await by_name.find(KEY, job, [NAME], ())
    assert cache.unwatched(KEY, "uid-1") == []


async def test_a_forged_pod_in_the_place_of_one_that_ran_is_not_read_again_and_again() -> None:
    """The rank is lost, and another attempt takes its place, whatever lies under its name."""
    w = training()
    server = Holds(forged(bare(w)))
    made, _ = reconciler(w, server)
    made._cache.forget(PODS, ("team", NAME), f"uid-{NAME}")
    outcome = await made.reconcile(KEY)
    assert server.writes == 1, "the attempt is over"
    assert made._cache.unwatched(KEY, "uid-1") == []
    asked = server.asked
    for _ in range(3):
        outcome = await made.reconcile(KEY)
    assert server.asked <= asked + 1, "once more before the next attempt"
    assert outcome.after != 5.0
