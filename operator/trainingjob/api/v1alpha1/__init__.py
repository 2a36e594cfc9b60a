"""API ``trainingjob.dev/v1alpha1``: the single source of the CRD and of the reference page."""

from ..stages import StageName
from .evaluate import CLASSIFICATION_METRICS, METRICS, REGRESSION_METRICS, Evaluate, Gate
from .input import Input
from .job import API_VERSION, GROUP, KIND, PLURAL, VERSION, ObjectMeta, Spec, TrainingJob
from .policy import Policy, Retries
from .preprocess import Preprocess
from .reasons import REASONS, FailureClass, Reason
from .reported import MetricValue
from .split import Split
from .status import (
    Condition,
    Evaluation,
    LastFailure,
    Phase,
    PodCounts,
    Progress,
    StagePhase,
    StageStatus,
    Status,
)
from .steps import Step
from .train import Train

__all__ = [
    "API_VERSION",
    "CLASSIFICATION_METRICS",
    "GROUP",
    "KIND",
    "METRICS",
    "PLURAL",
    "REASONS",
    "REGRESSION_METRICS",
    "VERSION",
    "Condition",
    "Evaluate",
    "Evaluation",
    "FailureClass",
    "Gate",
    "Input",
    "LastFailure",
    "MetricValue",
    "ObjectMeta",
    "Phase",
    "PodCounts",
    "Policy",
    "Preprocess",
    "Progress",
    "Reason",
    "Retries",
    "Spec",
    "Split",
    "StageName",
    "StagePhase",
    "StageStatus",
    "Status",
    "Step",
    "Train",
    "TrainingJob",
]
