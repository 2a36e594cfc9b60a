"""From raw files to a dataset: one pod, which may be a Spark driver and makes its executors."""

from __future__ import annotations

from ....api.uris import join
from ....api.v1alpha1 import TrainingJob
from ... import names
from ...children.pod import Maker
from ...observation import Settings
from ..pods import PodStage
from . import pods


class PreprocessStage(PodStage):
    """The room of `spec.preprocess`."""

    name = "preprocess"
    phase = "Preprocessing"
    image = "spark"
    drives = True
    unseals = True

    def executors(self, job: TrainingJob) -> int:
        return pods.executors(job)

    def maker(self, job: TrainingJob, attempt: int, settings: Settings) -> Maker:
        return pods.maker(job, attempt, settings, self.image_of(job, settings))

    def output_uri(self, job: TrainingJob) -> str:
        return names.dataset_uri(job)

    def reads(self, job: TrainingJob) -> list[str]:
        pretrained = job.spec.pretrained
        spec = pods.spec_of(job)
        uris = [*spec.uris, *spec.uris_of_code]
        if pretrained is not None and job.spec.tokenizer == pretrained.uri:
            # Of the folder, this stage reads no more.
            return [*uris, join(pretrained.uri, "tokenizer.json")]
        return uris
