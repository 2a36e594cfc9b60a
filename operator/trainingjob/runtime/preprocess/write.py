"""The dataset folder: files with their digests, and the manifest written last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.job import Task

from .. import storage
from ..base.errors import storage_errors
from ..dataset.manifest import SPLITS, DataFile, DatasetManifest, SplitInfo, SplitName, data_digest
from .checks import Summary
from .engines.frame import Engine, Frame


def write_dataset(
    engine: Engine,
    frame: Frame,
    task: Task,
    features: list[str],
    summary: Summary,
    pipeline: list[dict[str, Any]],
    target: Path,
) -> DatasetManifest:
    """Write the dataset aside, then put it in place of what was there."""
    with storage_errors("write the dataset"), storage.write_aside(target) as folder:
        files = write_files(engine, frame, folder)
        manifest = DatasetManifest(
            label=task.label,
            task=task.type,
            features=features,
            columns=dict(frame.columns),
            classes=summary.classes,
            splits={name: SplitInfo(rows=summary.rows[name], files=files[name]) for name in SPLITS},
            pipeline=pipeline,
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
