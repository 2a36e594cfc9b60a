"""Jobs that are asked to run again."""

from __future__ import annotations

import json
from typing import Any

from .world import World, failed, running, world

ANNOTATION = "trainingjob.dev/rerun"
STAGES = ("preprocess", "train", "evaluate")


def ask(w: World, value: str) -> None:
    w.manifest["metadata"]["annotations"] = {ANNOTATION: value}


def finished(**spec: Any) -> World:
    w = world(**spec)
    for stage in STAGES:
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    return w


def failed_in(stage: str, reason: str = "InputNotFound") -> World:
    w = world()
    for name in STAGES[: STAGES.index(stage)]:
        w.finish(name)
    w.finish(stage, lambda pod, seconds: failed(pod, seconds, reason))
    assert w.status["phase"] == "Failed"
    return w


def in_the_midst_of(stage: str) -> World:
    w = world()
    for name in STAGES[: STAGES.index(stage)]:
        w.finish(name)
    w.seconds += 1
    for pod in w.of(stage):
        running(pod, w.seconds)
    w.settle()
    assert w.stage(stage)["phase"] == "Running"
    return w


def suspended_in(stage: str) -> World:
    w = in_the_midst_of(stage)
    w.manifest["spec"]["suspend"] = True
    w.manifest["metadata"]["generation"] += 1
    w.settle()
    assert w.status["phase"] == "Suspended"
    return w


def attempts(w: World) -> list[int]:
    return [stage["attempt"] for stage in w.status["stages"]]


def conditions(w: World) -> dict[str, str]:
    return {c["type"]: c["status"] for c in w.status["conditions"]}


def to_the_end(w: World) -> None:
    for stage in STAGES:
        w.finish(stage)


def uid(w: World, stage: str) -> str:
    """As the pods of the stage know it."""
    found = {
        json.loads(variable["value"])["job"]["uid"]
        for pod in w.of(stage)
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] == "TRAININGJOB_STAGE"
    }
    (only,) = found
    return only
