"""The table at the end of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.unit.api.corpus import good
from trainingjob.api.v1alpha1 import Evaluation, TrainingJob
from trainingjob.cli import summary


@pytest.mark.parametrize("width", [1, 20, 200])
def test_a_narrow_terminal_has_all_digits(width: int) -> None:
    metrics = [{"name": "accuracy", "value": 0.9749, "min": 0.5, "passed": True}]
    evaluation = Evaluation.model_validate({"passed": True, "metrics": metrics})
    job = TrainingJob.from_dict(good("minimal"))
    told = io.StringIO()
    summary._whole(Console(file=told, width=width), summary._metrics(job, evaluation))
    assert told.getvalue().split("\n")[1].split() == ["accuracy", "0.9749", ">=", "0.5", "passed"]
