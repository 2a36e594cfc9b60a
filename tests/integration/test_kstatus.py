"""What Flux, Argo CD and `kubectl wait` make of our conditions: kstatus' own code says it."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.build import BIN, build
from tests.unit.core.world import World, at, disrupted, failed, running, stamp, world
from trainingjob.api.v1alpha1 import Status
from trainingjob.core import Blocker, status_of_unreadable


def compute(obj: dict[str, Any]) -> dict[str, Any]:
    build()
    done = subprocess.run(
        [BIN / "kstatus"], input=json.dumps(obj), capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def created() -> World:
    made = World()
    made.manifest["status"] = Status().to_dict()  # the CRD's defaults
    return made


def begun() -> World:
    return world()


def refused() -> World:
    made = World()
    made.create = lambda child: None  # type: ignore[method-assign]
    made.blockers = (Blocker("digits-preprocess-1-0", "QuotaExceeded", "exceeded quota"),)
    made.reconcile()
    return made


def runs() -> World:
    made = world()
    for pod in made.of("preprocess"):
        running(pod, 1)
    made.settle()
    return made


def restarts() -> World:
    made = world()
    made.finish("preprocess", disrupted)
    return made


def suspended() -> World:
    made = runs()
    made.manifest["spec"]["suspend"] = True
    made.settle()
    return made


def succeeded() -> World:
    made = world()
    for stage in ("preprocess", "train", "evaluate"):
        made.finish(stage)
    return made


def has_failed() -> World:
    made = world()
    made.finish("preprocess", lambda pod, seconds: failed(pod, seconds, "InputNotFound"))
    return made


def edited() -> World:
    """A new generation that the operator has not seen."""
    made = succeeded()
    made.manifest["metadata"]["generation"] = 2
    return made


def unreadable() -> World:
    made = world()
    prior = made.observe().job.status
    made.manifest["status"] = status_of_unreadable(prior, 1, "spec.train: bad", at(1)).to_dict()
    return made


def deleted() -> World:
    made = runs()
    made.manifest["metadata"]["deletionTimestamp"] = stamp(5)
    return made


@pytest.mark.parametrize(
    ("situation", "make", "expected"),
    [
        ("just created, no operator has seen it", created, "InProgress"),
        ("its first pod was made", begun, "InProgress"),
        ("its pods are refused", refused, "InProgress"),
        ("its pods run", runs, "InProgress"),
        ("it restarts", restarts, "InProgress"),
        ("it is suspended", suspended, "Current"),
        ("it succeeded", succeeded, "Current"),
        ("it failed", has_failed, "Failed"),
        ("its spec was edited since", edited, "InProgress"),
        ("its spec cannot be read", unreadable, "Failed"),
        ("it is being deleted", deleted, "Terminating"),
    ],
)
def test_kstatus_reads_our_conditions(
    situation: str, make: Callable[[], World], expected: str
) -> None:
    obj = copy.deepcopy(make().manifest)

    assert compute(obj)["status"] == expected
