"""Datasets as the preprocess stage leaves them, made without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.runtime.base.digest import sha256
from trainingjob.runtime.dataset.manifest import (
    SPLITS,
    DataFile,
    DatasetManifest,
    SplitInfo,
    SplitName,
)


def write_dataset(
    folder: Path,
    frame_by_split: dict[SplitName, pa.Table],
    *,
    label: str,
    task: Literal["classification", "regression"],
    rows_per_file: int = 1_000_000,
    rows_per_group: int = 1_000_000,
    folds: Sequence[str] | None = None,
) -> DatasetManifest:
    """Write ``folder/{train,validation,test}/*.parquet`` and its manifest.

    Every column except ``label`` is a feature. The classes are those of all splits, sorted.
    ``folds``: the digests of those that lie in ``fold-1`` and so on.
    """
    splits: dict[SplitName, SplitInfo] = {}
    for split in SPLITS:
        table = frame_by_split.get(split)
        files = []
        for number, start in enumerate(range(0, table.num_rows if table else 0, rows_per_file)):
            path = folder / split / f"part-{number:05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = table.slice(start, rows_per_file)
            pq.write_table(part, path, row_group_size=rows_per_group)
            files.append(
                DataFile(
                    name=path.name,
                    rows=part.num_rows,
                    bytes=path.stat().st_size,
                    sha256=sha256(path),
                )
            )
        splits[split] = SplitInfo(rows=table.num_rows if table else 0, files=files)
    schema = next(iter(frame_by_split.values())).schema
    classes = None
    if task == "classification":
        labels = [table[label] for table in frame_by_split.values()]
        classes = sorted(
            pc.unique(pa.chunked_array([c for x in labels for c in x.chunks])).to_pylist()
        )
    manifest = DatasetManifest(
        label=label,
        task=task,
        features=[name for name in schema.names if name != label],
        columns={field.name: _type(field.type) for field in schema},
        classes=classes,
        splits=splits,
        folds=folds and list(folds),
    )
    manifest.write(folder)
    return manifest


def _type(type_: pa.DataType) -> ColumnType:
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_):
        return "bigint"
    if pa.types.is_floating(type_):
        return "double"
    if pa.types.is_date(type_):
        return "date"
    if pa.types.is_timestamp(type_):
        return "timestamp"
    return "string"
