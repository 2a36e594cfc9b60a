"""A split of millions of rows takes no more memory than one of thousands, but for roc_auc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from trainingjob.runtime.dataset.manifest import DataFile, DatasetManifest, SplitInfo

from .build import World

SMALL, LARGE = 1_000_000, 5_000_000
# What the large split may add to the small one's peak: 8 bytes a row for roc_auc and some room.
# Held in memory, features would take 8 bytes a row, truth and predictions 16, scores 24.
BOUND_MIB = 8 * (LARGE - SMALL) / 2**20 + 32

SCRIPT = """
import re, sys
from pathlib import Path
from tests.local.evaluate.build import World

world = World(Path(sys.argv[1]))
for dataset, model in (("small", "small-model"), ("large", "large-model")):
    world.dataset, world.model = world.folder / dataset, world.folder / model
    result = world.run("accuracy", "roc_auc")
    # Not getrusage: its peak begins with the parent's.
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(result.samples, int(peak[1]) / 1024)
"""


def write_large(folder: Path, rows: int) -> None:
    """A split written a row group at a time."""
    names = ["x", "y", "label"]
    schema = pa.schema({"x": pa.float64(), "y": pa.float64(), "label": pa.int64()})
    rng = np.random.default_rng(0)
    path = folder / "test" / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, rows, 2**20):
            count = min(2**20, rows - begin)
            features = rng.normal(size=(2, count))
            arrays = [*features, rng.integers(0, 3, count)]
            writer.write_table(pa.table(dict(zip(names, arrays, strict=True)), schema))
    manifest = DatasetManifest(
        label="label",
        task="classification",
        features=["x", "y"],
        columns={"x": "double", "y": "double", "label": "bigint"},
        classes=[0, 1, 2],
        splits={
            "test": SplitInfo(
                rows=rows,
                files=[DataFile(name=path.name, rows=rows, bytes=path.stat().st_size, sha256="")],
            )
        },
    )
    manifest.write(folder)


def write_predictions(path: Path, data: Path) -> None:
    with (
        pq.ParquetFile(data) as source,
        pq.ParquetWriter(
            path,
            pa.schema(
                {"y_true": pa.int64(), "y_pred": pa.int64()}
                | {f"y_score_{i}": pa.float64() for i in range(3)}
            ),
        ) as writer,
    ):
        for batch in source.iter_batches(2**20):
            label = batch.column("label")
            third = np.full(len(label), 1 / 3)
            scores = {f"y_score_{i}": third for i in range(3)}
            writer.write_table(pa.table({"y_true": label, "y_pred": label, **scores}))


@pytest.mark.parametrize("source", ["a program", "a file of predictions"])
def test_memory_is_bounded_for(world: World, source: str) -> None:
    for name, rows in (("small", SMALL), ("large", LARGE)):
        write_large(world.folder / name, rows)
        world.model = world.folder / f"{name}-model"
        world.model.mkdir()
        if source == "a program":
            network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
            world.program(network, torch.zeros(4, 2))
        else:
            data = world.folder / name / "test" / "part-00000.parquet"
            write_predictions(world.model / "predictions.parquet", data)
    outcome = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(world.folder)], capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    (_, small), (samples, large) = (
        map(float, line.split()) for line in outcome.stdout.splitlines()
    )
    print(f"peak {small:.0f} MiB of a small split, {large:.0f} MiB of {samples:.0f} rows")
    assert samples == LARGE
    assert large - small < BOUND_MIB
