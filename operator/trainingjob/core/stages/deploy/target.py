"""What a stage that serves asks of the kind of object that it serves by."""

from __future__ import annotations

from typing import Any, Protocol

from ....api.v1alpha1 import TrainingJob
from ...child import ChildView
from ...kinds import Kind
from ...observation import Observation, Settings


class Target(Protocol):
    """An object whose own controller makes pods of it, and rolls them out."""

    @property
    def kind(self) -> Kind:
        """Of that object."""

    def made(self, job: TrainingJob, settings: Settings, image: str) -> list[dict[str, Any]]:
        """All that is applied, in that order: nothing gets a request before there is somebody to
        answer it. The object itself is the last."""

    def at_once(self, job: TrainingJob) -> int:
        """How many pods of one template there may be."""

    def workload(self, obs: Observation, found: ChildView) -> ChildView | None:
        """The Deployment behind the object, with the counts of its pods; None as long as there is
        none of the object's present template."""

    def answers(self, found: ChildView) -> bool:
        """Whether requests reach it, by what else than ready pods that takes."""

    def endpoint(self, job: TrainingJob, found: ChildView | None) -> str:
        """Where requests go, once it has been found so; "" as long as that is not known."""

    def words(self, found: ChildView) -> str:
        """What its controller says is in the way; "" when that says nothing."""
