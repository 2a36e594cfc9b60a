"""From a dataset to a model: a gang of pods, and the network by which it finds its rank 0."""

from __future__ import annotations

from typing import Any

from ....api.v1alpha1 import TrainingJob
from ....api.v1alpha1.train import CHECKPOINTED
from ... import names
from ...children.pod import Maker
from ...observation import Settings
from .. import meeting
from ..pods import PodStage
from . import pods


class TrainStage(PodStage):
    """The room of `spec.train`."""

    name = "train"
    phase = "Training"
    image = "torch"
    kinds = meeting.KINDS
    resumable = True

    def replicas(self, job: TrainingJob) -> int:
        """One pod a node."""
        return pods.spec_of(job).nodes

    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        return pods.maker(job, attempt, settings, self.image_of(job, settings))

    def others(self, job: TrainingJob, settings: Settings) -> list[dict[str, Any]]:
        named = pods.spec_of(job).model is None
        gang = meeting.services(job, self.name, self.replicas(job), named=named)
        return super().others(job, settings) + gang

    def uses_our_runtime(self, job: TrainingJob) -> bool:
        return not pods.runs_as_it_stands(job)

    def output_uri(self, job: TrainingJob) -> str:
        return names.model_uri(job)

    def reads(self, job: TrainingJob) -> list[str]:
        spec = pods.spec_of(job)
        given = (spec.dataset, job.spec.pretrained)
        return [*(one.uri for one in given if one is not None), *spec.uris_of_code]

    def starts_over(self, old: TrainingJob, new: TrainingJob) -> bool:
        """Own code decides itself what it makes of its checkpoints; those of the built-in training
        are of one model, and of the settings by which it learns."""
        (task, before), (new_task, after) = old.spec.trained, new.spec.trained
        if before.model is None and after.model is None:
            return False
        return task != new_task or any(
            getattr(before, name) != getattr(after, name) for name in (*CHECKPOINTED, "dataset")
        )
