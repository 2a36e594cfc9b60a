"""Judges the model on the test split: one pod, and then the gates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from ....api.v1alpha1 import StageStatus, TrainingJob
from ... import names
from ...children.pod import Maker
from ...observation import Observation, Settings
from ..outcome import StageOutcome
from ..pods import PodStage
from . import gating, pods


class EvaluateStage(PodStage):
    """The room of `spec.evaluate`."""

    name = "evaluate"
    phase = "Evaluating"
    image = "torch"
    judges = True
    cacheable: ClassVar[bool] = False

    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        return pods.maker(job, attempt, settings, self.image_of(job, settings))

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
