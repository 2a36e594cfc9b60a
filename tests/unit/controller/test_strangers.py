"""What we have not made changes no decision: not from another namespace, nor from the job's own."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.controller.test_reconcile import Server, reconciler
from tests.unit.core.test_properties import fates, go_on, moments
from tests.unit.core.world import RESULTS, World, at, disrupted, job
from trainingjob.cluster import PODS, SERVICES
from trainingjob.cluster.errors import Unavailable
from trainingjob.controller.reconcile import Reconciler
from trainingjob.core import Observation, Settings, plan, signing, status
from trainingjob.core.names import (
    ANNOTATION_SIGNATURE,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_JOB,
    LABEL_ROLE,
    LABEL_STAGE,
)

KEY = ("team", "digits")
SIGNING = b"k" * 32
KEYS = {"with a key": SIGNING, "without a key": b""}
GROUP = "trainingjob.dev/v1alpha1"
OWNER = {"apiVersion": GROUP, "kind": "TrainingJob", "name": "digits", "uid": "uid-1"} | {
    "controller": True
}

stages = st.sampled_from(["preprocess", "train", "evaluate", "deploy", "publish", ""])
numbers = st.sampled_from(
    ["0", "1", "2", "3", "7", "-1", "01", "1_0", "\u0661", "x", "", "999999", "1000000", "9" * 60]
)
# What our own pods are called.
exact = st.builds(
    "digits-{}-{}-{}".format,
    st.sampled_from(["preprocess", "train", "evaluate"]),
    st.sampled_from("1123"),
    st.sampled_from("001"),
)
names = st.one_of(
    exact,
    exact,
    st.builds("digits-{}-{}-{}".format, stages, numbers, numbers),
    st.builds("{}-{}-{}".format, stages, numbers, numbers),
    st.sampled_from(["digits-train", "digits", "forged", "digits-1-exec-1", "digits-train-1"]),
)
owners = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from([GROUP, "trainingjob.dev/v2", "v1", "evil.dev/v1alpha1"]),
        "kind": st.sampled_from(["TrainingJob", "Pod", "Job"]),
        "name": st.one_of(st.sampled_from(["digits", "other"]), names),
        "uid": st.sampled_from(["uid-1", "uid-2", "uid-digits-preprocess-1-0", "uid-forged"]),
        "controller": st.booleans(),
    }
)
labels = st.fixed_dictionaries(
    {
        LABEL_JOB: st.sampled_from(["digits", "other"]),
        LABEL_STAGE: stages,
        LABEL_ATTEMPT: numbers,
        LABEL_INDEX: numbers,
    },
    optional={LABEL_ROLE: st.just("executor")},
)
ended = {
    stage: {
        "phase": "Succeeded",
        "containerStatuses": [
            {
                "name": stage,
                "state": {
                    "terminated": {
                        "exitCode": 0,
                        "message": json.dumps({"result": RESULTS[stage]}),
                        "finishedAt": "2020-01-01T00:00:00Z",
                    }
                },
            }
        ],
    }
    for stage in RESULTS
}
statuses = st.sampled_from([{"phase": "Running"}, {"phase": "Failed"}, {}, *ended.values()])


@st.composite
def strangers(draw: st.DrawFn, namespace: str) -> dict[str, Any]:
    """A pod that somebody else has made: but for one thing as ours are, or nothing like it."""
    name, marks, owner = draw(names), draw(labels), draw(owners)
    parts = name.split("-")
    if len(parts) == 4 and draw(st.integers(0, 3)):
        marks = dict(zip((LABEL_STAGE, LABEL_ATTEMPT, LABEL_INDEX), parts[1:], strict=True))
        marks[LABEL_JOB] = "digits"
        keep = draw(st.sampled_from([*OWNER, ""])) if namespace == "team" else ""
        owner = OWNER | ({keep: owner[keep]} if keep else {})
    signatures = ["", "forged", "\u0661"]
    if namespace != "team":  # of the true pod
        signed = signing.signed(job(), {"metadata": {"name": name}}, SIGNING)
        signatures = [signed["metadata"]["annotations"][ANNOTATION_SIGNATURE]]
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": draw(st.sampled_from(["uid-forged", "uid-2", "uid-3"])),
            "resourceVersion": str(draw(st.integers(1, 10**9))),
            "creationTimestamp": "2020-01-01T00:00:00Z",
            "labels": marks,
            "annotations": {ANNOTATION_SIGNATURE: draw(st.sampled_from(signatures))},
            "ownerReferences": [owner],
        },
        "status": draw(statuses),
    }


def lived(fate: dict[str, str], order: list[int], key: bytes) -> World:
    world = World(settings=Settings(signing_key=key))
    go_on(world, fate, order)
    return world


def observation(made: Reconciler) -> Observation:
    found = made._cached(KEY)
    assert found is not None
    assert isinstance(found[1], Observation)
    return found[1]


def decision(made: Reconciler, world: World) -> object:
    obs, now = observation(made), at(world.seconds)
    reporters = [
        made._cache.reporter((KEY[0], p["metadata"]["name"]), p["metadata"]["uid"])
        for p in world.pods.values()
    ]
    return plan(obs, now), status(obs, now), obs.pods, obs.executors, obs.children, reporters


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@settings(max_examples=150, deadline=None)
@given(
    fate=fates,
    order=moments,
    strange=st.lists(strangers("elsewhere"), max_size=6),
    services=st.lists(strangers("elsewhere"), max_size=2),
    first=st.booleans(),
)
def test_no_object_of_another_namespace_changes_a_decision(
    fate: dict[str, str],
    order: list[int],
    strange: list[dict[str, Any]],
    services: list[dict[str, Any]],
    first: bool,
    key: bytes,
) -> None:
    check(lived(fate, order, key), strange, services, first)


@settings(max_examples=300, deadline=None)
@given(
    fate=fates,
    order=moments,
    strange=st.lists(strangers("team"), max_size=6),
    first=st.booleans(),
)
def test_no_pod_of_the_same_namespace_that_we_have_not_made_changes_a_decision(
    fate: dict[str, str], order: list[int], strange: list[dict[str, Any]], first: bool
) -> None:
    world = lived(fate, order, SIGNING)
    # A name is taken but once.
    check(world, [pod for pod in strange if pod["metadata"]["name"] not in world.pods], [], first)


@settings(max_examples=150, deadline=None)
@given(
    fate=fates,
    order=moments,
    strange=st.lists(strangers("team"), max_size=6),
    first=st.booleans(),
)
def test_without_a_key_only_a_pod_that_takes_the_name_of_ours_can(
    fate: dict[str, str], order: list[int], strange: list[dict[str, Any]], first: bool
) -> None:
    world = lived(fate, order, b"")
    world.record()
    replicas = {"preprocess": 1, "train": 2, "evaluate": 1}
    taken = {
        f"digits-{stage['name']}-{attempt}-{index}"
        for stage in world.status["stages"]
        for attempt in range(1, stage["attempt"] + 1)
        # Of attempts before, whatever index: the gang may have been larger.
        for index in range(replicas[stage["name"]] if attempt == stage["attempt"] else 10)
    }

    def passes(pod: dict[str, Any]) -> bool:
        meta = pod["metadata"]
        (owner,) = meta["ownerReferences"]
        same_group = owner["apiVersion"].startswith("trainingjob.dev/")
        return meta["name"] in taken and same_group and owner | {"apiVersion": GROUP} == OWNER

    strange = [pod for pod in strange if pod["metadata"]["name"] not in world.pods]
    check(world, [pod for pod in strange if not passes(pod)], [], first)


def check(
    world: World, strange: list[dict[str, Any]], services: list[dict[str, Any]], first: bool
) -> None:
    """``first``: the strangers are seen before what is the job's own."""
    expected = decision(operator(world, [], [], first), world)
    among = operator(world, strange, services, first)
    assert {pod.name for pod in observation(among).pods} == set(world.pods), "all of ours count"
    assert decision(among, world) == expected
    for pod in strange:
        meta = pod["metadata"]
        assert among._cache.reporter((meta["namespace"], meta["name"]), meta["uid"]) is None


def operator(
    world: World, strange: list[dict[str, Any]], services: list[dict[str, Any]], first: bool
) -> Reconciler:
    own = copy.deepcopy(world)
    pods, own.pods = own.pods.values(), {}
    made, _ = reconciler(own, Server())
    for pod in pods:
        pod["metadata"]["resourceVersion"] = "1"
    every = [(PODS, pod) for pod in strange] + [(SERVICES, service) for service in services]
    ours = [(PODS, pod) for pod in pods]
    for resource, obj in [*every, *ours] if first else [*ours, *every]:
        made._cache.apply(resource, obj)
    made._cache.hold(own.manifest)  # of one that is over not even that is kept
    return made


class Forgery(Server):
    """In the namespace is a pod of the name of one of an attempt before, and with its owner."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.made: list[str] = []

    async def pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        meta = {"name": name, "namespace": namespace, "uid": "forged", "resourceVersion": "7"}
        return {"metadata": meta | {"ownerReferences": [OWNER]}, "status": {"phase": "Running"}}

    async def delete(self, *_: object, **__: object) -> None:
        """Take it."""

    async def create(self, child: dict[str, Any]) -> dict[str, Any]:
        self.made.append(child["metadata"]["name"])
        raise Unavailable("timed out")


async def test_a_forged_pod_of_an_attempt_before_holds_no_attempt_up() -> None:
    world = World(settings=Settings(signing_key=SIGNING))
    world.seconds = (datetime.now(UTC) - at(0)).total_seconds() - 30
    world.settle()
    world.finish("preprocess")
    for pod in world.of("train"):
        disrupted(pod, world.seconds)
    world.record()
    world.record()
    for pod in world.of("train"):
        del world.pods[pod["metadata"]["name"]]
    world.record()
    assert world.stage("train")["attempt"] == 2
    server = Forgery()
    made, _ = reconciler(world, server)
    for _turn in range(3):
        await made.reconcile(KEY)
    assert {name for name in server.made if "-train-2-" in name}
    assert len(server.asked) == 2, "once before an attempt"
