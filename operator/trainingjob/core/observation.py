"""What the core decides upon: a job and the state of its children, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..api.v1alpha1 import Progress, StageName, StageStatus, TrainingJob
from ..api.v1alpha1.reasons import ReasonName
from .child import ChildView
from .pods import PodView
from .progress import Reported

# The images that come with the operator.
ImageName = Literal["spark", "torch"]


@dataclass(frozen=True)
class Settings:
    """What the operator's settings give to every job."""

    # Used where the manifest names none.
    images: dict[ImageName, str] = field(
        default_factory=lambda: {
            "spark": "trainingjob-spark:latest",
            "torch": "trainingjob-torch:latest",
        }
    )
    # Where pods report progress; "" turns reports off.
    status_url: str = ""
    # The certificate, in PEM, by which they know that it is us; "" where none is needed.
    status_ca: str = ""
    # Whether the operator has the rights to what serves models.
    deploys: bool = False
    # Whether it has them to those of KServe, and whether the API server knows these.
    kserve: Literal["off", "missing", "there"] = "off"
    # False on one machine, where a model only proves itself.
    serves: bool = True
    # By which the operator signs its pods, see `ownership`; empty: it does not.
    signing_key: bytes = field(default=b"", repr=False)
    # Whether Events may explain a pod that waits.
    pod_events: bool = False
    # The apiVersion of PodGroups, which gangs are to have; "": none.
    pod_groups: str = ""
    # Of the job whose pods are made: folders of its accepted models that others need.
    in_use: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blocker:
    """A child that could not be created, and why, under a reason of the table REASONS."""

    name: str
    reason: ReasonName
    message: str


@dataclass(frozen=True)
class PodEvent:
    """What an Event of Kubernetes says of a pod that waits, in its own words."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """One moment. ``pods``, ``executors`` and ``children``, which are of any other kind, are the
    job's own alone, as `ownership` has it; ``servers`` are pods of its Deployment, of the template
    that is applied; ``promoted`` are Deployments of all jobs of the namespace, which may serve a
    model of this one, and ``named`` the URIs of accepted models that jobs of the namespace name
    which are not over; ``reported`` is the newest of what pods report, and ``listening_since`` when
    we began to hear it, None when nobody listens; ``told`` is what Events say of pods that wait, by
    uid."""

    job: TrainingJob
    pods: tuple[PodView, ...] = ()
    executors: tuple[PodView, ...] = ()
    children: tuple[ChildView, ...] = ()
    servers: tuple[PodView, ...] = ()
    promoted: tuple[ChildView, ...] = ()
    named: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    reported: Reported | None = None
    listening_since: datetime | None = None
    told: Mapping[str, PodEvent] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def pods_of(self, stage: StageName) -> list[PodView]:
        """Pods of a stage, all attempts, in order."""
        pods = (pod for pod in self.pods if pod.stage == stage)
        return sorted(pods, key=lambda pod: (pod.attempt, pod.index))

    def progress_of(self, stage: StageStatus) -> Progress | None:
        """The newest report of the stage's present attempt: heard by us, or by an operator before
        or beside us, which has put it into status."""
        stored, heard = self.job.status.progress, self.reported
        if stored is not None and stored.stage != stage.name:
            stored = None
        if heard is None or (heard.progress.stage, heard.attempt) != (stage.name, stage.attempt):
            return stored
        ours = heard.progress
        if stored is None or stored.updated_time is None or ours.updated_time is None:
            return ours
        return stored if stored.updated_time > ours.updated_time else ours
