"""The dataset folder: files with their digests, and the manifest that makes them one, last."""

from __future__ import annotations

from typing import Any

from trainingjob.api.v1alpha1.job import Task

from ..dataset.manifest import SPLITS, DatasetManifest, SplitInfo, SplitName
from ..dataset.seal import Seal
from ..storage import Place
from .checks import Summary
from .engines.frame import Engine, Frame


def write_splits(
    engine: Engine, frame: Frame, summary: Summary, place: Place, seal: Seal | None = None
) -> dict[SplitName, SplitInfo]:
    """Write the rows of each split, those of the test split by its ``seal``."""
    parts = engine.write(frame, place, seal=seal)
    return {
        name: SplitInfo(rows=summary.rows[name], files=[part.file for part in parts[name]])
        for name in SPLITS
    }


def manifest_of(
    frame: Frame,
    task: Task,
    features: list[str],
    summary: Summary,
    pipeline: list[dict[str, Any]],
    splits: dict[SplitName, SplitInfo],
    **more: Any,
) -> DatasetManifest:
    """What makes these files a dataset."""
    return DatasetManifest(
        label=task.label,
        task=task.type,
        features=features,
        columns=dict(frame.columns),
        classes=summary.classes,
        splits=splits,
        pipeline=pipeline,
        **more,
    )
