"""Small builders, and a world in which plans are applied and pods meet their fate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from trainingjob.api.payload import ProgressReport
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import (
    Blocker,
    ChildView,
    Observation,
    PodView,
    Settings,
    at_rest,
    kinds,
    plan,
    signing,
    status,
)
from trainingjob.core.progress import Reported, newest, reported

# They are asked for before each attempt.
UNWATCHED = (kinds.CLAIM.name, kinds.POD_GROUP.name)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def manifest(**spec: Any) -> dict[str, Any]:
    """A two-node job with all three stages; ``spec`` replaces parts of the spec."""
    base: dict[str, Any] = {
        "task": {"type": "classification", "label": "target"},
        "storage": {"uri": "pvc://training/runs"},
        "preprocess": {"input": {"uri": "pvc://datasets/digits.csv", "format": "csv"}},
        "train": {"nodes": 2, "model": {"mlp": {"hidden": [64]}}},
        "evaluate": {"gates": [{"metric": "accuracy", "min": 0.9}]},
    }
    base |= spec
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "digits", "namespace": "team", "uid": "uid-1", "generation": 1},
        "spec": {key: value for key, value in base.items() if value is not None},
    }


def job(**spec: Any) -> TrainingJob:
    return TrainingJob.from_dict(manifest(**spec))


RUN = "pvc://training/runs/team/digits"
RESULTS: dict[str, dict[str, Any]] = {
    "preprocess": {
        "outputs": {"uri": f"{RUN}/dataset", "digest": "sha256:1", "rows": {"train": 7}}
    },
    "train": {"outputs": {"uri": f"{RUN}/model", "digest": "sha256:2", "steps": 10}},
    "evaluate": {
        "outputs": {"uri": f"{RUN}/evaluation", "digest": "sha256:3"},
        "metrics": [{"name": "accuracy", "value": 0.95}, {"name": "f1_macro", "value": 0.94}],
        "samples": 100,
        "modelDigest": "sha256:2",
        "datasetDigest": "sha256:1",
    },
}


def own_status(pod: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The status of the stage's own container, which has the stage's name."""
    return {"name": pod["metadata"]["labels"]["trainingjob.dev/stage"], "state": state}


def running(pod: dict[str, Any], seconds: float) -> None:
    state = {"running": {"startedAt": stamp(seconds)}}
    pod["status"] = {"phase": "Running", "containerStatuses": [own_status(pod, state)]}


def ended(
    pod: dict[str, Any], seconds: float, *, code: int = 0, message: str = "", reason: str = ""
) -> None:
    terminated = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "message": message,
        "startedAt": stamp(0),
        "finishedAt": stamp(seconds),
    }
    pod["status"] = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [own_status(pod, {"terminated": terminated})],
    }


def result(stage: str = "preprocess", **outputs: Any) -> str:
    """The termination message of a stage that did well, but for that."""
    made = RESULTS[stage]
    return json.dumps({"result": made | {"outputs": made["outputs"] | outputs}})


def succeeded(pod: dict[str, Any], seconds: float) -> None:
    """With the stage's result, if it is the pod that tells it."""
    labels = pod["metadata"]["labels"]
    first = labels["trainingjob.dev/index"] == "0"
    result = RESULTS[labels["trainingjob.dev/stage"]]
    ended(pod, seconds, message=json.dumps({"result": result}) if first else "")


def failed(pod: dict[str, Any], seconds: float, reason: str, code: int = 1, **more: Any) -> None:
    error = {"reason": reason, "message": f"{reason} happened", **more}
    ended(pod, seconds, code=code, message=json.dumps({"error": error}))


def disrupted(pod: dict[str, Any], seconds: float) -> None:
    ended(pod, seconds, code=143)
    pod["status"]["conditions"] = [
        {"type": "DisruptionTarget", "status": "True", "message": "node drained"}
    ]


Fate = Callable[[dict[str, Any], float], None]


@dataclass
class World:
    """An API server in memory: enough of one for the core."""

    manifest: dict[str, Any] = field(default_factory=manifest)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[tuple[str, str], ChildView] = field(default_factory=dict)
    shields: dict[str, dict[str, str]] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
    reported: Reported | None = None
    listening_since: datetime | None = None
    settings: Settings = field(default_factory=Settings)
    seconds: float = 0
    created: list[str] = field(default_factory=list)
    writes: int = 0
    # Every pod as it was made, also when it is gone.
    ever: dict[str, dict[str, Any]] = field(default_factory=dict)

    def observe(self) -> Observation:
        return Observation(
            job=TrainingJob.from_dict(json.loads(json.dumps(self.manifest))),  # a copy, and quick
            pods=tuple(PodView.from_dict(pod) for pod in self.pods.values()),
            children=tuple(self.children.values()),
            blockers=self.blockers,
            reported=self.reported,
            listening_since=self.listening_since,
            settings=self.settings,
        )

    def act(self) -> None:
        """Apply the plan."""
        todo = plan(self.observe(), at(self.seconds))
        for child in todo.create:
            self.create(child)
        for pod in (*todo.delete, *todo.force):
            self.pods.pop(pod.name, None)

    def create(self, child: dict[str, Any]) -> None:
        name, kind = child["metadata"]["name"], child["kind"]
        if kind in UNWATCHED and (kind, name) in self.children:
            return  # nobody knows, who does not ask
        if kind != "Pod":
            assert (kind, name) not in self.children, f"{kind} {name} created twice"
            if kind == "NetworkPolicy":
                self.shields[name] = child["spec"]["podSelector"]["matchLabels"]
            assert kind != "Service" or self.shielded(child["spec"]["selector"]), "no policy yet"
            self.children[kind, name] = ChildView.from_dict(kind, child)
            self.created.append(f"{kind} {name}")
            return
        assert name not in self.created, f"{name} created twice"
        self.created.append(name)
        child = signing.signed(
            TrainingJob.from_dict(self.manifest), child, self.settings.signing_key
        )
        child["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(self.seconds)}
        child["status"] = {"phase": "Pending"}
        self.pods[name] = self.ever[name] = child

    def refuse(self) -> None:
        """From now on the API server answers no creation."""

        def create(child: dict[str, Any]) -> None:
            blocker = Blocker(child["metadata"]["name"], "ApiUnavailable", "timed out")
            self.blockers = (*self.blockers, blocker)

        self.create = create  # type: ignore[method-assign]

    def shielded(self, selector: dict[str, str]) -> bool:
        """Whether a policy that is there covers all pods that a Service selects."""
        return any(
            ("NetworkPolicy", name) in self.children and pods.items() <= selector.items()
            for name, pods in self.shields.items()
        )

    def rests(self) -> bool:
        """Whether nobody has to look at the job."""
        rest, now = at_rest(self.manifest), at(self.seconds)
        if rest is None:
            return False
        obs = self.observe()
        # What the operator takes for granted then.
        todo = plan(obs, now)
        if rest.over(now):
            assert todo.delete_job
            return False
        if not rest.lasts(obs.pods):
            return False
        assert todo.empty
        assert not todo.delete_job
        assert todo.requeue_after == rest.seconds(now)
        assert status(obs, now) == obs.job.status
        return True

    def record(self) -> None:
        """Write the status if it changed."""
        self.rests()
        new = status(self.observe(), at(self.seconds)).to_dict()
        if new != self.manifest.get("status"):
            self.manifest["status"] = new
            self.writes += 1

    def report(self, stage: str, attempt: int = 1, index: int = 0, **metrics: object) -> None:
        """A pod tells its progress, in the wire format."""
        wire = ProgressReport.model_validate(
            {
                "trainerStatus": {
                    "progressPercentage": int(str(metrics.pop("percent", 0))),
                    "metrics": [{"name": k, "value": str(v)} for k, v in metrics.items()],
                }
            }
        )
        told = reported(wire, stage, attempt, index, at(self.seconds))
        self.reported = newest(self.reported, told)

    def reconcile(self) -> None:
        self.act()
        self.record()

    def settle(self, most: int = 20) -> None:
        """Reconcile until nothing changes."""
        for _ in range(most):
            before = (json.dumps(self.manifest), set(self.pods))
            self.reconcile()
            if before == (json.dumps(self.manifest), set(self.pods)):
                return
        raise AssertionError("the core does not come to rest")

    def finish(self, stage: str, fate: Fate = succeeded) -> None:
        """Let all pods of the stage that are not over meet their fate."""
        self.seconds += 1
        for pod in self.of(stage):
            if pod["status"]["phase"] in ("Pending", "Running"):
                fate(pod, self.seconds)
        self.settle()

    def of(self, stage: str) -> list[dict[str, Any]]:
        return [
            pod
            for pod in self.pods.values()
            if pod["metadata"]["labels"]["trainingjob.dev/stage"] == stage
        ]

    @property
    def status(self) -> dict[str, Any]:
        return self.manifest["status"]

    def stage(self, name: str) -> dict[str, Any]:
        return next(stage for stage in self.status["stages"] if stage["name"] == name)


def world(**spec: Any) -> World:
    made = World(manifest(**spec))
    made.settle()
    return made
