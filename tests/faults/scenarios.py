"""Six stories of a job, in which all kinds of writes and events occur."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.cluster.behaviour import Behaviour, fail, run, succeed
from tests.integration.harness import gang, manifest

from .trails import Trail

# Long enough that the status says that all pods run, for which it waits half a second.
_TRAINS = 0.7
Ask = Callable[[str, Any], Awaitable[None]]  # a verb and a body, for the job


@dataclass(frozen=True)
class Scenario:
    """``fates`` of pods by their names without the job's; others succeed at once. ``acts`` is what
    the user does meanwhile; ``over`` tells the end, None where nothing is to be left."""

    name: str
    job: Callable[[str], dict[str, Any]]
    fates: dict[str, Behaviour]
    over: Callable[[dict[str, Any]], bool] | None
    acts: Callable[[Trail, Ask], Awaitable[None]] | None = None


async def _suspends(trail: Trail, ask: Ask) -> None:
    await trail.until(lambda job: job["status"]["reason"] == "Running")
    await ask("PATCH", {"spec": {"suspend": True}})
    await trail.until(_settled)
    await ask("PATCH", {"spec": {"suspend": False}})


def _settled(job: dict[str, Any]) -> bool:
    """Suspended, and no pod is left."""
    conditions = {c["type"]: c["status"] for c in job["status"].get("conditions") or ()}
    return job["status"]["phase"] == "Suspended" and conditions["Reconciling"] == "False"


async def _runs_again(trail: Trail, ask: Ask) -> None:
    await trail.until(_ended)
    await ask("PATCH", {"metadata": {"annotations": {"trainingjob.dev/rerun": "train:1"}}})


def _ended(job: dict[str, Any]) -> bool:
    return job["status"]["phase"] in ("Succeeded", "Failed")


async def _deletes(trail: Trail, ask: Ask) -> None:
    await trail.until(lambda job: job["status"]["reason"] == "Running")
    await ask("DELETE", None)


_TRAIN = gang(1)["spec"]["train"]
_CLAIM = {"pvc": {"size": "1Gi"}}
_POLICY = {"cleanPods": "always", "ttlSecondsAfterFinished": 2}
SCENARIOS = (
    Scenario(
        "three stages",
        manifest,
        {f"train-1-{rank}": succeed(after=_TRAINS) for rank in range(2)},
        _ended,
    ),
    Scenario(
        "a rank fails",
        lambda name: gang(2, name),
        {
            "train-1-0": run(grace=0.2),
            "train-1-1": fail(3, after=_TRAINS),
            "train-2-0": succeed(meets="{job}-train-2-1"),
        },
        _ended,
    ),
    Scenario(
        "suspended and resumed",
        lambda name: gang(2, name),
        {
            "train-1-0": run(grace=0.2),
            "train-1-1": run(grace=0.2),
            "train-2-0": succeed(meets="{job}-train-2-1"),
        },
        _ended,
        _suspends,
    ),
    Scenario(
        "deleted in mid-training",
        lambda name: gang(2, name),
        {"train-1-0": run(grace=0.2), "train-1-1": run(grace=0.2)},
        None,
        _deletes,
    ),
    Scenario(
        "run again",
        lambda name: manifest(name, preprocess=None, train=_TRAIN),
        {},
        lambda job: _ended(job) and job["status"].get("rerun") == "train:1",
        _runs_again,
    ),
    Scenario(
        "with a claim, cleaned up",
        lambda name: manifest(name, storage=_CLAIM, preprocess=None, train=_TRAIN, policy=_POLICY),
        {},
        None,
    ),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
