"""A world in which models are served: objects that are applied, and who rolls Deployments out."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.core.world import (
    RESULTS,
    Fate,
    World,
    ended,
    manifest,
    own_status,
    stamp,
    succeeded,
)
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Blocker, ChildView, Observation, PodView, Settings, applied
from trainingjob.core.names import ANNOTATION_APPLIED, LABEL_ROLLOUT, accepted_model_uri

ON = Settings(deploys=True)
DIGEST = "sha256:" + "a" * 64
WORSE = "sha256:" + "b" * 64
URI = accepted_model_uri(TrainingJob.from_dict(manifest()), DIGEST, "sha256:1")


def deploying(**more: Any) -> dict[str, Any]:
    """A job that serves its model; ``more`` are fields of spec.deploy."""
    return manifest(deploy={"deployment": {"replicas": 2}, **more})


@dataclass
class Serving(World):
    """As World; ``objects`` are what is applied, as the API server has them. ``jobs``: names of
    others that are there; ``promoted``: what others serve."""

    manifest: dict[str, Any] = field(default_factory=deploying)
    settings: Settings = ON
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    servers: list[dict[str, Any]] = field(default_factory=list)
    jobs: tuple[str, ...] = ()
    promoted: tuple[ChildView, ...] = ()
    applies: list[str] = field(default_factory=list)

    def observe(self) -> Observation:
        obs = super().observe()
        name = self.manifest["metadata"]["name"]
        ours = [
            (kind, obj)
            for (kind, _), obj in self.objects.items()
            if obj["metadata"].get("labels", {}).get("trainingjob.dev/job") == name
        ]
        views = tuple(ChildView.from_dict(kind, obj) for kind, obj in ours)
        there = self.objects.get(self.key)
        rollout = there and there["spec"]["template"]["metadata"]["labels"].get(LABEL_ROLLOUT)
        pods = [p for p in self.servers if p["metadata"]["labels"][LABEL_ROLLOUT] == rollout]
        servers = tuple(PodView.from_dict(pod) for pod in pods)
        children = (*obs.children, *views)
        return replace(obs, children=children, servers=servers, promoted=self.promoted)

    def act(self) -> None:
        self.blockers = ()
        super().act()

    def create(self, child: dict[str, Any]) -> None:
        if ANNOTATION_APPLIED not in child["metadata"].get("annotations", {}):
            return super().create(child)
        if self.blockers:  # what comes after one that is in the way waits
            return None
        key = (child["kind"], child["metadata"]["name"])
        found = self.objects.get(key)
        made = applied.body(copy.deepcopy(child), found, self.jobs.__contains__)
        if isinstance(made, Blocker):
            self.blockers = (made,)
            return None
        self.applies.append(child["kind"])
        made = copy.deepcopy(made)
        old = found or {"metadata": {"uid": f"uid-of-{key[0]}", "generation": 0}}
        meta = made["metadata"]
        meta |= {"uid": old["metadata"]["uid"], "resourceVersion": str(len(self.applies))}
        spec = made["spec"]
        if child["kind"] == "Deployment":
            spec.setdefault("replicas", old.get("spec", {}).get("replicas", 1))
        meta["generation"] = old["metadata"]["generation"] + (old.get("spec") != spec)
        if "status" in old:
            made["status"] = old["status"]
        self.objects[key] = made
        return None

    @property
    def key(self) -> tuple[str, str]:
        name = self.manifest["spec"]["deploy"].get("name", self.manifest["metadata"]["name"])
        return ("Deployment", name)

    @property
    def deployment(self) -> dict[str, Any]:
        return self.objects[self.key]

    @property
    def payload(self) -> dict[str, Any]:
        """What the pods are told that are made now."""
        (container,) = self.deployment["spec"]["template"]["spec"]["containers"]
        (text,) = [v["value"] for v in container["env"] if v["name"] == "TRAININGJOB_STAGE"]
        told: dict[str, Any] = json.loads(text)
        return told

    def server(self, **state: Any) -> dict[str, Any]:
        """A pod of the present template, whose container is as ``state`` says."""
        labels = dict(self.deployment["spec"]["template"]["metadata"]["labels"])
        labels |= {"trainingjob.dev/attempt": "1", "trainingjob.dev/index": "0"}
        name = f"digits-{len(self.servers)}"
        pod: dict[str, Any] = {"metadata": {"name": name, "labels": labels, "uid": name}}
        status = own_status(pod, state)
        if "running" in state and "lastState" in state:
            status = own_status(pod, {"running": state["running"]})
            status["lastState"] = state["lastState"]
        pod["status"] = {"phase": "Running", "containerStatuses": [status]}
        if "waiting" in state:
            pod["status"]["phase"] = "Pending"
        self.servers.append(pod)
        return pod

    def crashes(self, reason: str) -> None:
        """A new pod starts, and its server gives up."""
        message = json.dumps({"error": {"reason": reason, "message": f"{reason} happened"}})
        end = {"exitCode": 1, "message": message, "finishedAt": stamp(self.seconds)}
        self.server(terminated=end)
        self.rolls(updated=1, available=2 if self.applies.count("Deployment") > 1 else 0)

    def rolls(self, updated: int, available: int, **more: Any) -> None:
        """The Deployment's controller has done so much."""
        wanted = self.deployment["spec"]["replicas"]
        self.deployment["status"] = {
            "observedGeneration": self.deployment["metadata"]["generation"],
            "replicas": max(wanted, updated + available if updated < wanted else updated),
            "updatedReplicas": updated,
            "availableReplicas": available,
            **more,
        }
        self.seconds += 1
        self.settle()

    def rolled(self) -> None:
        """All pods are ready."""
        wanted = self.deployment["spec"]["replicas"]
        self.rolls(wanted, wanted)

    def again(self, uid: str = "uid-2", **metadata: Any) -> None:
        """The job is deleted, and applied anew; what it has served stays."""
        self.manifest = copy.deepcopy(self.manifest)
        self.manifest.pop("status", None)
        self.manifest["metadata"] |= {"uid": uid, **metadata}
        self.pods, self.created, self.blockers = {}, [], ()
        self.children = {}
        self.seconds += 1
        self.settle()

    def finish(self, stage: str, fate: Fate | None = None) -> None:
        """What training leaves has no digest, unless its ``fate`` tells one: any model is its."""

        def undigested(pod: dict[str, Any], seconds: float) -> None:
            result = copy.deepcopy(RESULTS["train"])
            del result["outputs"]["digest"]
            name = self.manifest["metadata"]["name"]
            result["outputs"]["uri"] = result["outputs"]["uri"].replace("digits", name)
            ended(pod, seconds, message=json.dumps({"result": result}))

        super().finish(stage, fate or (undigested if stage == "train" else succeeded))

    def judged(self, digest: str = DIGEST) -> None:
        """All stages before go well, and the model of that digest is accepted."""

        def well(pod: dict[str, Any], seconds: float) -> None:
            stage = pod["metadata"]["labels"]["trainingjob.dev/stage"]
            result = copy.deepcopy(RESULTS[stage])
            name = self.manifest["metadata"]["name"]
            result["outputs"]["uri"] = result["outputs"]["uri"].replace("digits", name)
            result |= {"modelDigest": digest} if stage == "evaluate" else {}
            if stage == "train":
                result["outputs"]["digest"] = digest
            ended(pod, seconds, message=json.dumps({"result": result}))

        for stage in ("preprocess", "train", "evaluate"):
            self.finish(stage, well)


def judged(digest: str = DIGEST, **more: Any) -> Serving:
    """A job whose model was accepted."""
    it = Serving(deploying(**more))
    it.settle()
    it.judged(digest)
    return it


def served(digest: str = DIGEST, **more: Any) -> Serving:
    """A job whose model is served."""
    it = judged(digest, **more)
    it.rolled()
    return it


def held(by: str = "digits", **metadata: Any) -> dict[str, Any]:
    """An object in the way: somebody's own, or what the job of that name has left."""
    notes = {"trainingjob.dev/kept": "true"} if by else {}
    labels = {"trainingjob.dev/job": by, "trainingjob.dev/stage": "deploy"} if by else {}
    meta = {
        "labels": labels,
        "annotations": notes,
        "resourceVersion": "7",
        "uid": "u",
        "name": "digits",
    }
    spec = {"replicas": 2, "template": {"metadata": {"labels": {}}, "spec": {"theirs": True}}}
    return {"metadata": meta | metadata, "spec": spec}
