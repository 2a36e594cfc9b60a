"""Gangs under a quota, on a real API server: each is whole, or holds nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell

from .harness import Namespace, Operator, gang, operator

ROOM, NODES, GANGS = 16, 4, 8


@pytest.fixture
def space(control_plane: ControlPlane, namespace: str) -> Namespace:
    """With a quota, of pods that are not over."""
    made = Namespace(control_plane, namespace)
    spec = {"hard": {"pods": str(ROOM)}}
    made.create("resourcequotas", {"metadata": {"name": "q"}, "spec": spec})
    wait_for("the quota", lambda: (made.get("resourcequotas", "q") or {}).get("status"))
    return made


@pytest.fixture(autouse=True)
def served(space: Namespace) -> Iterator[Operator]:
    """It serves nothing else, so that its calls are those for the test's jobs."""
    with operator(space.control_plane, space.name) as running:
        yield running


@pytest.mark.nightly
def test_eight_gangs_of_four_under_a_quota_of_sixteen(space: Namespace) -> None:
    """Four run, then four; ranks wait for the last and the last for the first, as in a training."""

    def script(pod: dict[str, Any]) -> Behaviour:
        attempt, _, index = pod["metadata"]["name"].rpartition("-")
        return behaviour.succeed(meets=f"{attempt}-{0 if index == str(NODES - 1) else NODES - 1}")

    names = [f"g-{number}" for number in range(GANGS)]
    with FakeKubelet(space.control_plane, [space.name], 3.0, script) as kubelet:
        begun = time.monotonic()
        for name in names:
            # Shorter than they have to wait: it does not count in line.
            space.run(gang(NODES, name, policy={"startupDeadlineSeconds": 5}))

        def over() -> list[str]:
            return [n for n in names if space.status(n).get("phase") in ("Succeeded", "Failed")]

        wait_for("the first of them", lambda: len(over()) >= 1, 90)
        waits = next(n for n in names if space.status(n).get("reason") == "QuotaExceeded")
        tell("a gang that has to wait for a quota", time.monotonic() - begun, space.status(waits))
        wait_for("all of them", lambda: len(over()) == GANGS, 150)
        assert kubelet.errors == []
    for name in names:
        status = space.status(name)
        assert (status["phase"], status.get("lastFailure")) == ("Succeeded", None)
        assert not any(status["stages"][0]["failures"].values())


def test_what_a_gang_gives_back_is_free_for_a_smaller_one(space: Namespace) -> None:
    with FakeKubelet(space.control_plane, [space.name], script=lambda _: behaviour.run()):
        space.run(gang(ROOM + 1, "large"))
        status = space.wait("large", reason="QuotaExceeded")
        wait_for(
            "it to give back what it has",
            lambda: "pods of 17 were given back" in space.status("large")["message"],
        )
        assert "exceeded quota: q" in status["message"]
        space.run(gang(ROOM - 1, "small"))
        space.wait("small", phase="Training", reason="Running")
        assert space.status("large")["phase"] != "Failed"


def test_a_refused_job_does_not_ask_without_pause(space: Namespace, served: Operator) -> None:
    space.create("resourcequotas", {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    wait_for("the quota", lambda: (space.get("resourcequotas", "none") or {}).get("status"))
    space.run(gang(1))
    space.wait("gang", reason="QuotaExceeded")
    # 0.1, 0.2, 0.4, 0.8, 1.6 seconds, at least half of each.
    wait_for("some tries", lambda: _refused(served) >= 4)

    assert _refused(served) <= 8


def _refused(served: Operator) -> float:
    return served.metric("trainingjob_api_calls_total", verb="POST", code="403")
