"""A room a stage, and the one list of them."""

from __future__ import annotations

from ...api.v1alpha1 import StageName, TrainingJob
from .deploy import DeployStage
from .evaluate import EvaluateStage
from .outcome import StageOutcome
from .predict import PredictStage
from .preprocess import PreprocessStage
from .stage import Stage
from .train import TrainStage

# In the order in which they run.
STAGES: tuple[Stage, ...] = (
    PreprocessStage(),
    TrainStage(),
    EvaluateStage(),
    DeployStage(),
    PredictStage(),
)

_BY_NAME = {stage.name: stage for stage in STAGES}

__all__ = ["STAGES", "Stage", "StageOutcome", "ended", "named", "names_of", "of"]


def of(job: TrainingJob) -> list[Stage]:
    """The job's stages in order."""
    return [stage for stage in STAGES if stage.present(job)]


def names_of(job: TrainingJob) -> list[StageName]:
    """As ``of``, by name."""
    return [stage.name for stage in of(job)]


def ended(job: TrainingJob) -> bool:
    """Whether the job as stored has ended: all of its stages are there, or one has failed."""
    known = {stage.name for stage in job.status.stages}
    return job.status.over and (job.status.phase == "Failed" or known >= {*names_of(job)})


def named(name: StageName) -> Stage:
    """The room of a stage."""
    return _BY_NAME[name]


def unseals(name: str) -> bool:
    """Whether the pods of a stage of that name may read a test split that is sealed."""
    return any(stage.unseals for stage in STAGES if stage.name == name)
