"""The stages by name, in the order in which they run, and what a job is called while one works.

The one list; it imports nothing, so that the command line can offer it at once. A stage has its
fields in ``v1alpha1/<name>.py``, its room in ``core/stages/<name>``: see docs/stages.md.
"""

from __future__ import annotations

from typing import Literal, get_args

StageName = Literal["preprocess", "train", "evaluate", "deploy", "predict"]
Activity = Literal["Preprocessing", "Training", "Evaluating", "Deploying", "Predicting"]

STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)
