"""Judges the model on the test split, in one pod or a gang; and then the gates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from ....api.v1alpha1 import StageStatus, TrainingJob
from ... import names
from ...children.pod import Maker
from ...observation import Observation, Settings
from .. import meeting
from ..outcome import StageOutcome
from ..pods import PodStage
from . import gating, pods


class EvaluateStage(PodStage):
    """The room of `spec.evaluate`."""

    name = "evaluate"
    phase = "Evaluating"
    image = "torch"
    judges = True
    unseals = True
    kinds = meeting.KINDS
    cacheable: ClassVar[bool] = False

    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        return pods.maker(job, attempt, settings, self.image_of(job, settings))

    def replicas(self, job: TrainingJob) -> int:
        return pods.nodes(job)

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        gang = meeting.services(job, self.name, self.replicas(job))
        return super().others(job, settings) + gang

    def reads(self, job: TrainingJob) -> list[str]:
        return pods.spec_of(job).uris_of_code

    def output_uri(self, job: TrainingJob) -> str:
        return names.evaluation_uri(job)

    def conclude(
        self,
        obs: Observation,
        outcome: StageOutcome,
        before: Sequence[StageStatus],
        now: datetime,
    ) -> StageOutcome:
        """By the gates."""
        return gating.judged(obs.job, outcome, before, now)
