"""What others may rely on does not change by accident."""

from __future__ import annotations

from pathlib import Path

import trainingjob
from trainingjob.api import v1alpha1


def test_the_names_of_v1alpha1_are_frozen() -> None:
    assert v1alpha1.__all__ == [
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
    assert all(hasattr(v1alpha1, name) for name in v1alpha1.__all__)


def test_the_folder_operator_is_no_package() -> None:
    """It would shadow the standard library's module of that name."""
    folder = Path(trainingjob.__file__).parents[1]

    assert folder.name == "operator"
    assert not (folder / "__init__.py").exists()
