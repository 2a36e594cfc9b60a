"""The dataset folder: files with their digests, and the manifest written last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.job import Task

from ..dataset.manifest import SPLITS, DataFile, DatasetManifest, SplitInfo, SplitName, data_digest
from .checks import Summary
from .engines.frame import Engine, Frame


def write_splits(
    engine: Engine, frame: Frame, summary: Summary, folder: Path
) -> dict[SplitName, SplitInfo]:
    """Write the rows of each split."""
    files = write_files(engine, frame, folder)
    return {name: SplitInfo(rows=summary.rows[name], files=files[name]) for name in SPLITS}


def write_manifest(
    frame: Frame,
    task: Task,
    features: list[str],
    summary: Summary,
    pipeline: list[dict[str, Any]],
    splits: dict[SplitName, SplitInfo],
    folder: Path,
    folds: list[str] | None = None,
) -> DatasetManifest:
    """Write what makes the folder a dataset; ``folds``: the digests of those of the folds."""
    manifest = DatasetManifest(
        label=task.label,
        task=task.type,
        features=features,
        columns=dict(frame.columns),
        classes=summary.classes,
        splits=splits,
        pipeline=pipeline,
        folds=folds,
    )
    manifest.write(folder)
    return manifest


def write_files(engine: Engine, frame: Frame, folder: Path) -> dict[SplitName, list[DataFile]]:
    """Write each split's files into ``folder``; what the manifest says of them."""
    files = engine.write(frame, folder)
    with ThreadPoolExecutor() as pool:
        return {name: list(pool.map(_describe, files[name])) for name in SPLITS}


def _describe(path: Path) -> DataFile:
    return DataFile(
        name=path.name,
        rows=pq.read_metadata(path).num_rows,
        bytes=path.stat().st_size,
        sha256=data_digest(path),
    )
