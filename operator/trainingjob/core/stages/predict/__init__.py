"""Predicts the rows of files by the model that passed, in one pod."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from ....api.v1alpha1 import StageStatus, TrainingJob
from ... import accepted
from ...children.pod import Maker
from ...observation import Observation, Settings
from ..outcome import StageOutcome, failed_for_good
from ..pods import PodStage
from . import pods


class PredictStage(PodStage):
    """The room of `spec.predict`."""

    name = "predict"
    phase = "Predicting"
    image = "torch"
    of_accepted = True
    cacheable: ClassVar[bool] = False

    def judge(
        self, obs: Observation, prior: StageStatus, since: datetime, now: datetime
    ) -> StageOutcome:
        if what := accepted.unsaid(obs.job):
            return failed_for_good(prior, "ResultInvalid", what, now)
        if what := accepted.unavailable(obs.job, pods.spec_of(obs.job).variant):
            return failed_for_good(prior, "VariantUnavailable", what, now)
        return super().judge(obs, prior, since, now)

    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        return pods.maker(job, attempt, settings, self.image_of(job, settings))

    def waits(self, job: TrainingJob) -> bool:
        """For the model that was accepted."""
        return not accepted.digest_of(job)

    def reads(self, job: TrainingJob) -> list[str]:
        return [pods.spec_of(job).input.uri]

    def output_uri(self, job: TrainingJob) -> str:
        return pods.output_of(job)
