"""Run with the fourth stage in the package: what becomes of a job that has it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from tests.unit.core.world import World, at, manifest

from trainingjob.api.crd import crd
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cluster import Cache, watched
from trainingjob.cluster.resources import BY_KIND
from trainingjob.core import events, stages
from trainingjob.core.policy import rerun

NAME = ("Deployment", "digits-publish")


def begun() -> World:
    world = World(manifest(publish={"image": "server:1"}))
    world.settle()
    for stage in ("preprocess", "train", "evaluate"):
        assert NAME not in world.children, "its turn has not come"
        world.finish(stage)
    return world


def told(world: World, **status: object) -> None:
    """By the controller of Deployments."""
    world.children[NAME] = replace(world.children[NAME], status=status)
    world.seconds += 1
    world.settle()


def main() -> None:
    found: dict[str, object] = {}
    world = begun()
    found["while it works"] = [world.status["phase"], world.stage("publish")["reason"]]
    found["made"] = world.created.count(" ".join(NAME))
    told(world, readyReplicas=1)
    found["ready"] = [world.status["phase"], world.stage("publish")["outputs"]["uri"]]
    job = TrainingJob.from_dict(world.manifest)
    found["rerun"] = rerun.stage_of(job, "publish:1")

    world = begun()
    failed = {"type": "Progressing", "status": "False", "message": "no node has room"}
    before = world.observe().job.status
    told(world, conditions=[failed])
    found["failed"] = [world.status["phase"], world.status["reason"], world.status["message"]]
    job = world.observe().job
    found["events"] = [e["reason"] for e in events(job, before, job.status, at(world.seconds))]

    found["watched"] = [resource.plural for resource in watched(deploys=False)]
    (made,) = stages.named("publish").others(job, world.settings)
    cache = Cache()
    cache.apply(BY_KIND["Deployment"], made | {"metadata": made["metadata"] | SEEN})
    found["seen"] = [child.name for child in cache.children(("team", "digits"), "uid-1")]
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    found["in the CRD"] = "publish" in schema["spec"]["properties"]
    found["phases"] = "Publishing" in schema["status"]["properties"]["phase"]["enum"]
    json.dump(found, sys.stdout)


SEEN = {"uid": "uid-of-it", "resourceVersion": "7"}

if __name__ == "__main__":
    main()
